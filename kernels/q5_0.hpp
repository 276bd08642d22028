#pragma once

// Q5_0: GGUF's 5-bit blocks, 5.5 bits per value.
//
// Source    ggml, quantize_row_q5_0_ref.
// Plane     blocks: each 32 values of a row are d:f16le qh:u32le qs:u8[16], 22 bytes without
//           padding; qs[j] holds the low nibbles of value j below and of value j + 16 above, bit j
//           of qh the fifth bit of value j.
// Encode    as Q4_0 (q4_0.hpp) with d = m / -16 and q = min(31, trunc(x * id + 16.5))
// Decode    x' = (q - 16) * f32(d)
// Bound     |x - x'| <= |d| (half a step; a whole one at -m, where q = 32 is cut to 31)
//           + max|x| 2^-11 + 2^-20, while |d| <= 65504
// Exactness reference and SIMD agree bit for bit on every target.
//           Decoded values, as f32 and while scales are normal, encode to the same bytes again.

#include "kernels/ggml_blocks.hpp"
#include "kernels/registry.hpp"

namespace viva::kernels::q5_0 {

inline constexpr std::uint32_t block_bytes = 22;

/// The code of t = x * id, in [-16, 16] up to rounding.
VIVA_HD constexpr std::uint8_t code_of(float t) noexcept {
  const int q = static_cast<int>(t + 16.5f);
  return static_cast<std::uint8_t>(q < 31 ? q : 31);
}

VIVA_HD inline void encode_block(const float* x, std::byte* block) noexcept {
  constexpr std::size_t half = ggml_block_values / 2;
  const float d = extreme_of(x, ggml_block_values) / -16.0f;
  const float inverse = ggml_inverse(d);
  store_as(ggml_f16(d), block);
  std::uint32_t fifth = 0;
  for (std::size_t j = 0; j < half; ++j) {
    const auto low = code_of(x[j] * inverse);
    const auto high = code_of(x[j + half] * inverse);
    block[6 + j] = static_cast<std::byte>((low & 15) | (high & 15) << 4);
    fifth |= std::uint32_t{low} >> 4 << j | std::uint32_t{high} >> 4 << (j + half);
  }
  store_as(fifth, block + 2);
}

/// True where the scale is a number.
VIVA_HD inline bool is_whole(const std::byte* block) noexcept {
  return is_finite(f32_from_f16(load_as<std::uint16_t>(block)));
}

VIVA_HD inline float decode_value(const std::byte* block, std::size_t j) noexcept {
  const float d = f32_from_f16(load_as<std::uint16_t>(block));
  const auto fifth = load_as<std::uint32_t>(block + 2) >> j & 1u;
  return static_cast<float>((ggml_nibble(block + 6, j) | static_cast<int>(fifth << 4)) - 16) * d;
}

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

} // namespace viva::kernels::q5_0
