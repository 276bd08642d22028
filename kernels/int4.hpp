#pragma once

// INT4 per group: 4-bit integers, one scale and with `asym` one zero point for each group of 128,
// 64 or 32 columns; 4.125 bits per value at 128 from 16-bit sources.
//
// Source    compressed-tensors' pack-quantized W4A16 and W4A16_ASYM
// Planes    codes u8, two values per byte, the first in the low nibble, code + 8 · scales
//           (rows, cols / group) in the type of the source · with `asym` zeros u32
//           (ceil(rows / 8), cols / group), row 8 i + k in the nibble k from below, zero + 8
// Encode    scale = max|x| / 7.5; with `absmax` max|x| / 7, which no value exceeds; with `asym`
//           (max - min) / 15, where min and max are of the group and 0. Rounded to the source's
//           type; a zero becomes that type's epsilon.
//           zero = 0; with `asym` rint(clamp(-8 - min / scale, -8, 7)), by the rounded scale
//           code = rint(clamp(x / scale + zero, -8, 7)), ties to even
// Search    with `search` the scale is refitted. For each of 16 factors f = 34/32, 33/32 … 19/32,
//           the levels k = rint(clamp(x * (1/f * (1/scale)), -8 - zero, 7 - zero)) and the sums
//           a = sum x k, b = sum k k, in the order of the values. The first f of largest a a / b
//           wins: its levels have the least squared error at the scale a / b, which rounded to the
//           source's type becomes the scale. Groups whose max|x| is not within [2^-50, 2^50] keep
//           theirs.
// Decode    x' = (code - zero) * scale, one f32 product
// Bound     Without search |x - x'| <= scale / 2; where the rounded scale is below the exact one
//           the extremes clamp: + max|x| 2^-8 (bf16), 2^-11 (f16), with `asym` twice that.
//           With `search` |x - x'| <= 0.535 max|x|, with channels 0.725 max|x| (bf16: 0.55, 0.74).
//           The largest value clamps at 7 scales, and a scale is the mean of x / k, weighed by k k
//           and channels. In units of f times the scale before it is least at f = 19/32: where 127
//           values of 1.5, k = 2, stand beside the largest, 0.0667 max|x|; where the largest weighs
//           nothing beside values of 0.5, k = 1, 0.0396 max|x|. A group's sum of (x - x')^2, or of
//           channel (x - x')^2, is at most the one without search and 2^-14 of that of x^2, for the
//           scale's rounding and the sums' own.
//           Scales that are subnormal in their type have no relative bound: |x - x'| <= max|x|. A
//           magnitude within 7 % of the largest f32 may decode to infinity.
// Exactness reference and SIMD agree bit for bit on every target.

#include "kernels/convert.hpp"
#include "kernels/int8.hpp"
#include "kernels/registry.hpp"

#include <array>
#include <cmath>
#include <cstddef>

namespace viva::kernels::int4 {

/// Bits of recipe::flags.
inline constexpr std::uint32_t asym = 1, search = 2, absmax = 4;

/// What the codes of a group stand for: x' = (code - zero) * scale.
struct group_scale {
  float scale = 0;
  int zero = 0; ///< In [-8, 7].
};

/// `exact` rounded to the source's type and never zero.
VIVA_HD constexpr float rounded_scale(float exact, dtype source) noexcept {
  const float scale = rounded_to(exact, source);
  return scale > 0 ? scale : int8::zero_scale(source);
}

VIVA_HD constexpr group_scale symmetric(float amax, float steps, dtype source) noexcept {
  return {rounded_scale(amax / steps, source), 0};
}

/// (max - min) / 15 for min <= 0 <= max; a span beyond f32 is halved on the way.
VIVA_HD constexpr float span_scale(float min, float max) noexcept {
  const float span = max - min;
  return is_finite(span) ? span / 15.0f : (max * 0.5f - min * 0.5f) / 7.5f;
}

/// The zero point of a group whose smallest value, or 0, is `min`.
VIVA_HD inline int zero_of(float min, float scale) noexcept {
  const float zero = -8.0f - min / scale;
  return static_cast<int>(std::rint(zero < -8.0f ? -8.0f : zero > 7.0f ? 7.0f : zero));
}

VIVA_HD inline group_scale asymmetric(float min, float max, dtype source) noexcept {
  const float scale = rounded_scale(span_scale(min, max), source);
  return {scale, zero_of(min, scale)};
}

/// The code of `x`, in [-8, 7].
VIVA_HD inline int code_of(float x, group_scale by) noexcept {
  const float q = x / by.scale + static_cast<float>(by.zero);
  return static_cast<int>(std::rint(q < -8.0f ? -8.0f : q > 7.0f ? 7.0f : q));
}

/// 1 / f of the factors that `search` tries.
inline constexpr std::size_t factors_count = 16;
VIVA_HD constexpr float inverse_factor(std::size_t j) noexcept {
  return 32.0f / static_cast<float>(34 - j);
}
inline constexpr std::array<float, factors_count> inverse_factors = [] {
  std::array<float, factors_count> all{};
  for (std::size_t j = 0; j < factors_count; ++j)
    all[j] = inverse_factor(j);
  return all;
}();

/// True where the sums of a search neither overflow nor vanish.
VIVA_HD constexpr bool searchable(float amax) noexcept {
  return amax >= 0x1p-50f && amax <= 0x1p50f;
}

/// The refitted scale among the sums of every factor; `by.scale` where none is better.
VIVA_HD inline float best_scale(const float* a, const float* b, group_scale by,
                                dtype source) noexcept {
  float best = 0;
  float scale = by.scale;
  for (std::size_t j = 0; j < factors_count; ++j) {
    const float score = a[j] * a[j] / b[j];
    if (b[j] > 0 && score > best) {
      best = score;
      scale = rounded_to(a[j] / b[j], source);
    }
  }
  return scale > 0 && is_finite(scale) ? scale : by.scale;
}

/// Sets the zero point of a row's group in a plane of zeros. Row 8 i clears those of the seven
/// after it.
void put_zero(int zero, std::size_t row, std::size_t group, std::size_t row_groups,
              std::byte* plane) noexcept;
/// The zero point of a row's group, in [-8, 7].
int get_zero(std::size_t row, std::size_t group, std::size_t row_groups,
             const std::byte* plane) noexcept;

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

} // namespace viva::kernels::int4
