#pragma once

// Q4_1: GGUF's 4-bit blocks with a minimum, 5 bits per value.
//
// Source    ggml, quantize_row_q4_1_ref.
// Plane     blocks: each 32 values of a row are d:f16le m:f16le qs:u8[16], 20 bytes without
//           padding; qs[j] holds value j in its low and value j + 16 in its high nibble.
// Encode    d = (max - min) / 15; id = 1 / d; q = min(15, trunc((x - min) * id + 0.5)), a
//           difference, a product and a sum, each rounded. f16(d) and f16(min) are stored, the f32
//           numbers quantize. Of zeros of both signs the first is the minimum.
//           Where d is zero or 1 / d is not finite (blocks of one value, spans below 4.4e-38 or
//           above f32's range), id is 0, so every q is 0; a d or min beyond f16 is stored as
//           +-65504 (q8_0.hpp says why).
// Decode    x' = q * f32(d) + f32(m), a product and a sum, each rounded
// Bound     |x - x'| <= d / 2 + (max - min + max|x|) 2^-11 + 2^-20, while d and |min| are at most
//           65504
// Exactness reference and SIMD agree bit for bit on every target.

#include "kernels/ggml_blocks.hpp"
#include "kernels/registry.hpp"

namespace viva::kernels::q4_1 {

inline constexpr std::uint32_t block_bytes = 20;

/// The code of t = (x - min) * id, in [0, 15] up to rounding.
VIVA_HD constexpr std::uint8_t code_of(float t) noexcept {
  const int q = static_cast<int>(t + 0.5f);
  return static_cast<std::uint8_t>(q < 15 ? q : 15);
}

VIVA_HD inline void encode_block(const float* x, std::byte* block) noexcept {
  constexpr std::size_t half = ggml_block_values / 2;
  const ggml_range range = ggml_range_of(x);
  const float d = (range.max - range.min) / 15.0f;
  const float inverse = ggml_inverse(d);
  store_as(ggml_f16(d), block);
  store_as(ggml_f16(range.min), block + 2);
  for (std::size_t j = 0; j < half; ++j) {
    const auto low = code_of(ggml_above(x[j], range.min) * inverse);
    const auto high = code_of(ggml_above(x[j + half], range.min) * inverse);
    block[4 + j] = static_cast<std::byte>(low | high << 4);
  }
}

/// True where scale and minimum are numbers.
VIVA_HD inline bool is_whole(const std::byte* block) noexcept {
  return is_finite(f32_from_f16(load_as<std::uint16_t>(block)))
         && is_finite(f32_from_f16(load_as<std::uint16_t>(block + 2)));
}

VIVA_HD inline float decode_value(const std::byte* block, std::size_t j) noexcept {
  const float d = f32_from_f16(load_as<std::uint16_t>(block));
  const float min = f32_from_f16(load_as<std::uint16_t>(block + 2));
  return static_cast<float>(ggml_nibble(block + 4, j)) * d + min;
}

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

} // namespace viva::kernels::q4_1
