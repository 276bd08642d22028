#pragma once

// Scalar and bulk conversions between f32 and the 16-bit types. All to f32 are exact; all from
// f32 round to nearest, ties to even. A NaN stays a NaN.
//
// Source    ggml's ggml_compute_fp32_to_bf16 and its software f16 for the NaN rules; IEEE 754 for
//           the rest. An f16 NaN of any payload becomes sign|0x7E00 on the way from f32.
// Exactness reference and SIMD agree bit for bit on every input but the payload of an f16 NaN, and
//           no method encodes a NaN.

#include "kernels/dtype.hpp"
#include "kernels/portability.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>

namespace viva::kernels {

VIVA_HD constexpr std::uint32_t bits_of(float x) noexcept {
  return std::bit_cast<std::uint32_t>(x);
}
VIVA_HD constexpr float float_of(std::uint32_t bits) noexcept {
  return std::bit_cast<float>(bits);
}
VIVA_HD constexpr std::uint32_t magnitude_bits(float x) noexcept {
  return bits_of(x) & 0x7FFFFFFFu;
}
VIVA_HD constexpr float magnitude(float x) noexcept {
  return float_of(magnitude_bits(x));
}
/// The bits of infinity: a magnitude at or above this is not finite.
inline constexpr std::uint32_t infinity_bits = 0x7F800000u;

VIVA_HD constexpr bool is_finite(float x) noexcept {
  return magnitude_bits(x) < infinity_bits;
}

VIVA_HD constexpr float f32_from_bf16(std::uint16_t bits) noexcept {
  return float_of(std::uint32_t{bits} << 16);
}

VIVA_HD constexpr std::uint16_t bf16_from_f32(float x) noexcept {
  const std::uint32_t u = bits_of(x);
  if (magnitude_bits(x) > infinity_bits)
    return static_cast<std::uint16_t>((u >> 16) | 0x40u); // quiet
  return static_cast<std::uint16_t>((u + 0x7FFFu + ((u >> 16) & 1u)) >> 16);
}

// f16 is 1-5-10, bias 15. Its exponent field e and mantissa m as f32: e = 31 is infinity or NaN,
// e = 0 is m 2^-24, else the f32 exponent is e + 112.
VIVA_HD constexpr float f32_from_f16(std::uint16_t bits) noexcept {
  const std::uint32_t sign = std::uint32_t{bits & 0x8000u} << 16;
  const std::uint32_t exponent = (bits >> 10) & 31u;
  const std::uint32_t mantissa = bits & 0x3FFu;
  if (exponent == 31)
    return float_of(sign | infinity_bits | mantissa << 13);
  if (exponent == 0) // exact: at most 10 bits times a power of two
    return float_of(sign | bits_of(static_cast<float>(mantissa) * 0x1p-24f));
  return float_of(sign | (exponent + 112u) << 23 | mantissa << 13);
}

VIVA_HD constexpr std::uint16_t f16_from_f32(float x) noexcept {
  const std::uint32_t sign = (bits_of(x) >> 16) & 0x8000u;
  const std::uint32_t u = magnitude_bits(x);
  std::uint32_t h = 0;
  if (u > infinity_bits)
    h = 0x7E00u;
  else if (u >= 0x477FF000u) // 65520 and above round to infinity
    h = 0x7C00u;
  else if (u >= 0x38800000u) // normal: 13 mantissa bits go, half to even
    h = (u - 0x38000000u + 0xFFFu + ((u >> 13) & 1u)) >> 13;
  else // below 2^-14: adding 0.5 leaves the rounded multiple of 2^-24 in the low mantissa bits
    h = bits_of(float_of(u) + 0.5f) - 0x3F000000u;
  return static_cast<std::uint16_t>(sign | h);
}

/// `x` rounded to `type` and back.
VIVA_HD constexpr float rounded_to(float x, dtype type) noexcept {
  return type == dtype::f32   ? x
         : type == dtype::f16 ? f32_from_f16(f16_from_f32(x))
                              : f32_from_bf16(bf16_from_f32(x));
}

/// in: `count` values of `type`, unaligned allowed; out: (count) f32. SIMD inside.
void load_f32(const std::byte* in, dtype type, std::size_t count, float* out) noexcept;
/// The other way, rounding; out may be unaligned.
void store_f32(const float* in, dtype type, std::size_t count, std::byte* out) noexcept;

/// Flat index of the first NaN or infinity, or `count` where all are finite. SIMD inside.
std::size_t first_not_finite(const std::byte* in, dtype type, std::size_t count) noexcept;

// The same, one value at a time: the truth that the three above are tested against.
void load_f32_reference(const std::byte* in, dtype type, std::size_t count, float* out) noexcept;
void store_f32_reference(const float* in, dtype type, std::size_t count, std::byte* out) noexcept;
std::size_t first_not_finite_reference(const std::byte* in, dtype type, std::size_t count) noexcept;

} // namespace viva::kernels
