#pragma once

// awq: 4-bit integers with a zero point, one f16 scale per group of columns, in the words that
// AWQ's engines read; each group's range is clipped where that lessens the error of the output.
//
// Source    AutoAWQ 88e4c76, WQLinear_GEMM and pseudo_quantize_tensor; clip search after its
//           auto_clip, on the diagonal proxy (formats.md 4.3) instead of sampled tokens. Columns
//           are scaled by who calls these functions: awq_search.hpp finds the scales.
// Planes    codes   a unit of 8 rows: u32 for each column; nibble i (bits 4i to 4i+3) is the code
//                   of row order[i] = 0 2 4 6 1 3 5 7 of the unit
//           scales  f16 for each row and group, (rows, groups)
//           zeros   a unit of 8 rows: u32 for each group, nibbles as in codes
//           The rows that a last unit lacks have code and zero 0.
// Encode    lo, hi = least and largest value of the group, widened to 0
//           c = largest magnitude · (20 - i) / 20; lo' = max(lo, -c), hi' = min(hi, c)
//           scale = f16(max(f16(hi' - lo'), 1e-5) / 15), at most 65504
//           zero  = clamp(-rint(f16(lo' / scale)), 0, 15)
//           code  = clamp(rint(f16(x / scale)) + zero, 0, 15); quotients beyond ±64 count as ±64
//           for i = 0 … 9 take the one with the least sum of channel · (decoded - x)², the first
//           of equals; only i = 0 with `no-clip` or `rtn`. Without channels each weighs 1. A sum
//           is taken in 16 lanes (column mod 16), folded 8, 4, 2, 1.
// Decode    (code - zero) · scale
// Bound     0.49 of the group's largest magnitude, and 1e-6: 9/20 clipped and half of a scale of
//           1.1/15; without clip 0.137, a scale of 2/15 and f16's roundings; whatever the channels.
//           None where the scale saturates
// Exactness reference and SIMD agree bit for bit. AutoAWQ's bytes with `rtn` of values that f16
//           holds, for it rounds others first; but where a group's values all have one sign: its
//           zero cannot be reached then, and its error is as large as the values; widening to 0
//           costs nothing elsewhere

#include "kernels/convert.hpp"
#include "kernels/registry.hpp"

#include <algorithm>
#include <cmath>

namespace viva::kernels::awq {

inline constexpr std::uint32_t no_clip = 1, rtn = 2, no_scale = 4; ///< recipe::flags.
inline constexpr std::size_t unit_rows = 8;
inline constexpr std::size_t group_max = 128;
inline constexpr int shrinks = 10;
inline constexpr std::size_t sum_lanes = 16;
inline constexpr int order[unit_rows] = {0, 2, 4, 6, 1, 3, 5, 7};
/// Where row r of a unit lies: the inverse of `order`.
inline constexpr int place[unit_rows] = {0, 4, 1, 5, 2, 6, 3, 7};

/// The extremes of a group.
struct group_range {
  float lo = 0, hi = 0, magnitude = 0;
};

/// What a group is encoded with.
struct group_code {
  float scale = 0;
  float zero = 0; ///< 0 to 15.
};

/// f16(x), for |x| <= 64: exact for what survives rounding to an integer.
VIVA_HD inline float f16_quotient(float x) noexcept {
  const auto u = bits_of(x);
  return float_of((u + 0xFFFu + (u >> 13 & 1u)) & ~0x1FFFu);
}

/// rint(f16(x / scale)).
VIVA_HD inline float quotient_of(float x, float scale) noexcept {
  const float q = x / scale;
  return std::rint(f16_quotient(q < -64.0f ? -64.0f : q > 64.0f ? 64.0f : q));
}

/// The code of a group whose range is shrunk `step` times by a twentieth.
VIVA_HD inline group_code code_of(const group_range& range, int step) noexcept {
  const float c = range.magnitude * (static_cast<float>(20 - step) / 20.0f);
  const float lo = range.lo < -c ? -c : range.lo;
  const float hi = range.hi > c ? c : range.hi;
  const float apart = hi - lo;
  const float width = apart < 65504.0f ? f32_from_f16(f16_from_f32(apart)) : apart;
  const float wanted = (width < 1e-5f ? 1e-5f : width) / 15.0f;
  group_code result;
  result.scale = wanted >= 65504.0f ? 65504.0f : f32_from_f16(f16_from_f32(wanted));
  const float zero = -quotient_of(lo, result.scale);
  result.zero = zero < 0.0f ? 0.0f : zero > 15.0f ? 15.0f : zero;
  return result;
}

VIVA_HD inline float code_of(float x, group_code with) noexcept {
  const float q = quotient_of(x, with.scale) + with.zero;
  return q < 0.0f ? 0.0f : q > 15.0f ? 15.0f : q;
}

VIVA_HD inline float value_of(float code, group_code with) noexcept {
  return (code - with.zero) * with.scale;
}

/// What one value adds to the loss of its group.
VIVA_HD inline float loss_of(float x, float weight, group_code with) noexcept {
  const float error = value_of(code_of(x, with), with) - x;
  return weight * (error * error);
}

/// Σ weight · (decoded - x)² over a group of `count` values, a multiple of 16.
float group_loss_reference(const float* x, const float* weights, std::size_t count,
                           group_code with) noexcept;

/// The extremes of `count` values, widened to 0.
group_range range_of_reference(const float* x, std::size_t count) noexcept;

/// True where a job with statistics searches scales for the columns: a recipe of awq, without `rtn`
/// and `no-scale`.
bool scales_columns(const recipe&) noexcept;

/// Scales and zero points of group `g` of `rows` rows of a unit, the first of them `row`. False,
/// where a scale is not finite.
bool read_codes(std::span<const std::byte* const> in, std::size_t row, std::size_t rows,
                std::size_t g, std::size_t groups, group_code* codes) noexcept;

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

} // namespace viva::kernels::awq
