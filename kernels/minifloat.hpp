#pragma once

// Scalar conversions between f32 and the 8- and 4-bit floats of FP8, NVFP4 and MXFP4.
//
// Source    OCP 8-bit Floating Point Specification 1.0 (E4M3) and OCP Microscaling Formats 1.0
//           (E2M1, E8M0).
//
//   E4M3  1-4-3, bias 7, no infinity, NaN 0x7F and 0xFF, largest 448, subnormals of 2^-9
//   E2M1  1-2-1, bias 1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 of both signs, nothing else
//   E8M0  2^(code - 127), no sign, no zero, 255 is NaN; code 0 is a subnormal f32
//
// To f32 all are exact. From f32, values beyond the largest E4M3 and E2M1 saturate (every producer
// clamps first).
// Exactness the vectors of minifloat-inl.hpp equal these on every input.

#include "kernels/convert.hpp"

namespace viva::kernels {

inline constexpr float e4m3_max = 448.0f;
inline constexpr float e2m1_max = 6.0f;

VIVA_HD constexpr float f32_from_e4m3(std::uint8_t code) noexcept {
  const std::uint32_t sign = std::uint32_t{code & 0x80u} << 24;
  const std::uint32_t exponent = (code >> 3) & 15u;
  const std::uint32_t mantissa = code & 7u;
  if ((code & 0x7Fu) == 0x7Fu)
    return float_of(sign | infinity_bits | 0x400000u);
  if (exponent == 0)
    return float_of(sign | bits_of(static_cast<float>(mantissa) * 0x1p-9f));
  return float_of(sign | (exponent + 120u) << 23 | mantissa << 20);
}

/// Ties to even; magnitudes above 448 become 448; a NaN stays one.
VIVA_HD constexpr std::uint8_t e4m3_from_f32(float x) noexcept {
  const std::uint32_t sign = (bits_of(x) >> 24) & 0x80u;
  const std::uint32_t u = magnitude_bits(x);
  std::uint32_t code = 0;
  if (u > infinity_bits)
    code = 0x7Fu;
  else if (u >= bits_of(e4m3_max))
    code = 0x7Eu;
  else if (u >= bits_of(0x1p-6f)) // normal: 20 mantissa bits go, half to even
    code = ((u + 0x7FFFFu + ((u >> 20) & 1u)) >> 20) - (120u << 3);
  else // adding 2^14 leaves the rounded multiple of 2^-9 in the low mantissa bits
    code = bits_of(float_of(u) + 0x1p14f) - bits_of(0x1p14f);
  return static_cast<std::uint8_t>(sign | code);
}

/// The power of two at or below a magnitude, as the Microscaling Formats scale; all below 2^-126
/// have code 0. Infinity and NaN become NaN.
VIVA_HD constexpr std::uint8_t e8m0_from_f32(float x) noexcept {
  return static_cast<std::uint8_t>(magnitude_bits(x) >> 23);
}

VIVA_HD constexpr float f32_from_e8m0(std::uint8_t code) noexcept {
  return code == 255 ? float_of(infinity_bits | 0x400000u)
         : code == 0 ? 0x1p-127f
                     : float_of(std::uint32_t{code} << 23);
}

/// Of the low four bits.
VIVA_HD constexpr float f32_from_e2m1(std::uint8_t code) noexcept {
  const std::uint32_t sign = std::uint32_t{code & 8u} << 28;
  const std::uint32_t exponent = (code >> 1) & 3u;
  const std::uint32_t mantissa = code & 1u;
  const std::uint32_t magnitude_of =
      exponent == 0 ? mantissa * bits_of(0.5f) : (exponent + 126u) << 23 | mantissa << 22;
  return float_of(sign | magnitude_of);
}

/// The border between magnitudes of codes `i` and `i + 1`, for i in [0, 7).
VIVA_HD constexpr float e2m1_threshold(int i) noexcept {
  return (f32_from_e2m1(static_cast<std::uint8_t>(i))
          + f32_from_e2m1(static_cast<std::uint8_t>(i + 1)))
         * 0.5f;
}

/// Ties to the even code, as IEEE rounds; a negative value that becomes zero is code 8, -0.
VIVA_HD constexpr std::uint8_t e2m1_from_f32(float x) noexcept {
  const float a = magnitude(x);
  int code = 0;
  for (int i = 0; i < 7; ++i)
    code += a > e2m1_threshold(i) || (i % 2 == 1 && a == e2m1_threshold(i)) ? 1 : 0;
  return static_cast<std::uint8_t>(code | ((bits_of(x) >> 28) & 8u));
}

} // namespace viva::kernels
