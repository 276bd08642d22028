#pragma once

// Q8_0: GGUF's 8-bit blocks, 8.5 bits per value.
//
// Source    ggml, quantize_row_q8_0_ref.
// Plane     blocks: each 32 values of a row are d:f16le q:i8[32], 34 bytes without padding
// Encode    d = max|x| / 127; id = 1 / d; q = round(x * id), ties away from zero; f16(d) is stored,
//           the f32 d quantizes.
//           Where d is zero or 1 / d is not finite (max|x| < 3.8e-37), id is 0, so every q is 0:
//           ggml leaves that undefined. A d beyond f16 is stored as 65504, the largest, where ggml
//           writes an infinity that no engine loads; the block then decodes too small.
// Decode    x' = q * f32(d)
// Bound     |x - x'| <= d / 2 + max|x| 2^-11 + 2^-18, while d <= 65504. (The last term: d below
//           f16's normal range rounds to a multiple of 2^-24, times 127.)
// Exactness reference and SIMD agree bit for bit on every target.
//           Decoded values, as f32 and while scales are normal, encode to the same bytes again.

#include "kernels/ggml_blocks.hpp"
#include "kernels/registry.hpp"

#include <cmath>

namespace viva::kernels::q8_0 {

inline constexpr std::uint32_t block_bytes = 34;

/// round(t), ties away from zero.
VIVA_HD inline std::int8_t code_of(float t) noexcept {
  return static_cast<std::int8_t>(std::round(t));
}

VIVA_HD inline void encode_block(const float* x, std::byte* block) noexcept {
  const float d = magnitude_max(x, ggml_block_values) / 127.0f;
  const float inverse = ggml_inverse(d);
  store_as(ggml_f16(d), block);
  for (std::size_t j = 0; j < ggml_block_values; ++j)
    store_as(code_of(x[j] * inverse), block + 2 + j);
}

/// True where the scale is a number.
VIVA_HD inline bool is_whole(const std::byte* block) noexcept {
  return is_finite(f32_from_f16(load_as<std::uint16_t>(block)));
}

VIVA_HD inline float decode_value(const std::byte* block, std::size_t j) noexcept {
  const float d = f32_from_f16(load_as<std::uint16_t>(block));
  return static_cast<float>(load_as<std::int8_t>(block + 2 + j)) * d;
}

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

} // namespace viva::kernels::q8_0
