#pragma once

// Q5_1: GGUF's 5-bit blocks with a minimum, 6 bits per value.
//
// Source    ggml, quantize_row_q5_1_ref.
// Plane     blocks: each 32 values of a row are d:f16le m:f16le qh:u32le qs:u8[16], 24 bytes
//           without padding; qs[j] holds the low nibbles of value j below and of value j + 16
//           above, bit j of qh the fifth bit of value j.
// Encode    as Q4_1 (q4_1.hpp) with d = (max - min) / 31 and q = trunc((x - min) * id + 0.5)
// Decode    x' = q * f32(d) + f32(m), a product and a sum, each rounded
// Bound     |x - x'| <= d / 2 + (max - min + max|x|) 2^-11 + 2^-19, while d and |min| are at most
//           65504
// Exactness reference and SIMD agree bit for bit on every target.

#include "kernels/ggml_blocks.hpp"
#include "kernels/registry.hpp"

namespace viva::kernels::q5_1 {

inline constexpr std::uint32_t block_bytes = 24;

/// The code of t = (x - min) * id, in [0, 31] up to rounding.
VIVA_HD constexpr std::uint8_t code_of(float t) noexcept {
  return static_cast<std::uint8_t>(t + 0.5f);
}

VIVA_HD inline void encode_block(const float* x, std::byte* block) noexcept {
  constexpr std::size_t half = ggml_block_values / 2;
  const ggml_range range = ggml_range_of(x);
  const float d = (range.max - range.min) / 31.0f;
  const float inverse = ggml_inverse(d);
  store_as(ggml_f16(d), block);
  store_as(ggml_f16(range.min), block + 2);
  std::uint32_t fifth = 0;
  for (std::size_t j = 0; j < half; ++j) {
    const auto low = code_of(ggml_above(x[j], range.min) * inverse);
    const auto high = code_of(ggml_above(x[j + half], range.min) * inverse);
    block[8 + j] = static_cast<std::byte>((low & 15) | (high & 15) << 4);
    fifth |= std::uint32_t{low} >> 4 << j | std::uint32_t{high} >> 4 << (j + half);
  }
  store_as(fifth, block + 4);
}

/// True where scale and minimum are numbers.
VIVA_HD inline bool is_whole(const std::byte* block) noexcept {
  return is_finite(f32_from_f16(load_as<std::uint16_t>(block)))
         && is_finite(f32_from_f16(load_as<std::uint16_t>(block + 2)));
}

VIVA_HD inline float decode_value(const std::byte* block, std::size_t j) noexcept {
  const float d = f32_from_f16(load_as<std::uint16_t>(block));
  const float min = f32_from_f16(load_as<std::uint16_t>(block + 2));
  const auto fifth = load_as<std::uint32_t>(block + 4) >> j & 1u;
  return static_cast<float>(ggml_nibble(block + 8, j) | static_cast<int>(fifth << 4)) * d + min;
}

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

} // namespace viva::kernels::q5_1
