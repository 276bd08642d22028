#pragma once

// Scalar and bulk conversions between f32 and the 16-bit types (formats.md section 0). All to f32 are
// exact; all from f32 round to nearest, ties to even. A NaN stays a NaN.

#include "kernels/dtype.hpp"

#include <cstddef>
#include <cstdint>

namespace viva::kernels {

float f32_from_bf16(std::uint16_t bits) noexcept;
float f32_from_f16(std::uint16_t bits) noexcept;
std::uint16_t bf16_from_f32(float x) noexcept;
std::uint16_t f16_from_f32(float x) noexcept;

/// in: `count` values of `type`, unaligned allowed; out: (count) f32. SIMD inside.
void load_f32(const std::byte* in, dtype type, std::size_t count, float* out) noexcept;
/// The other way, rounding; out may be unaligned.
void store_f32(const float* in, dtype type, std::size_t count, std::byte* out) noexcept;

/// Flat index of the first NaN or infinity, or `count` where all are finite.
std::size_t first_not_finite(const std::byte* in, dtype type, std::size_t count) noexcept;

} // namespace viva::kernels
