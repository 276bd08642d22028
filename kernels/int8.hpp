#pragma once

// INT8 per row, the rule of compressed-tensors' W8A8 (formats.md 5.1): 8 bits per value and one scale
// per row.
//
// Planes     codes: i8 per value, row-major; scales: one per row, in the source's type
// Encode     scale = max|x| / 127.5 rounded to the source's type; a scale of zero becomes that type's
//            epsilon; code = rint(clamp(x / scale, -128, 127)), divided by the rounded scale
// Decode     x' = code * scale
// Bound      |x - x'| <= 0.51 scale where the scale is a normal number of the source's type
// Exactness  reference and SIMD agree bit for bit: each step is one rounded f32 operation.

#include "kernels/registry.hpp"

namespace viva::kernels::int8 {

/// The scale of a row whose largest magnitude is `amax`, already rounded to `type`.
float scale_of(float amax, dtype type) noexcept;

status encode_reference(const recipe&, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept;
status encode_simd(const recipe&, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept;
status decode_reference(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                        std::span<const std::byte* const> in, float* out) noexcept;
status decode_simd(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept;

expected<recipe> resolve(const method&, std::string_view options, dtype source);
geometry shape(const recipe&, std::uint64_t cols);

} // namespace viva::kernels::int8
