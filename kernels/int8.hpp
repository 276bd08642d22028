#pragma once

// INT8 per row: 8-bit integers and one scale for each row, 8 bits per value and a scale per row.
//
// Source    compressed-tensors' symmetric W8A8 rule: the range has 255 steps, so 127.5.
// Planes    codes (rows, cols) i8 · scales (rows) in the type of the source
// Encode    scale = max|x| / 127.5 rounded to the source's type; a zero becomes that type's epsilon
//           code  = rint(clamp(x / scale, -128, 127)), by the rounded scale, ties to even
// Decode    x' = code * scale, one f32 product
// Bound     |x - x'| <= scale / 2 (1 + 2^-8); where the rounded scale is below max|x| / 127.5 the
//           extremes clamp: |x - x'| <= 0.5 scale + max|x| 2^-8 (bf16), 2^-11 (f16). Scales that
//           are subnormal in their type have no relative bound: |x - x'| <= max|x|. A magnitude
//           within 0.4 % of the largest f32 may decode to infinity: code -128 stands for 128
//           scales.
// Exactness reference and SIMD agree bit for bit on every target; |x| / scale is at most 256.

#include "kernels/convert.hpp"
#include "kernels/registry.hpp"

#include <cmath>

namespace viva::kernels::int8 {

/// What a row of zeros has for a scale: the epsilon of the scale's type.
VIVA_HD constexpr float zero_scale(dtype source) noexcept {
  return source == dtype::f32 ? 0x1p-23f : source == dtype::f16 ? 0x1p-10f : 0x1p-7f;
}

/// The scale of a row whose largest magnitude is `amax`.
VIVA_HD constexpr float scale_of(float amax, dtype source) noexcept {
  const float scale = rounded_to(amax / 127.5f, source);
  return scale > 0 ? scale : zero_scale(source);
}

/// The code of `x`. With a divisor that is not zero and |x / scale| <= 2^22.
VIVA_HD inline std::int8_t code_of(float x, float scale) noexcept {
  const float q = x / scale;
  return static_cast<std::int8_t>(std::rint(q < -128.0f ? -128.0f : q > 127.0f ? 127.0f : q));
}

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

} // namespace viva::kernels::int8
