#pragma once

// Q4_0: GGUF's 4-bit blocks, 4.5 bits per value.
//
// Source    ggml, quantize_row_q4_0_ref.
// Plane     blocks: each 32 values of a row are d:f16le qs:u8[16], 18 bytes without padding;
//           qs[j] holds value j in its low and value j + 16 in its high nibble.
// Encode    m = the value of largest magnitude, the first of equals; d = m / -8; id = 1 / d;
//           q = min(15, trunc(x * id + 8.5)), a product and a sum, each rounded. So m takes code 0.
//           f16(d) is stored, the f32 d quantizes. Where d is zero or 1 / d is not finite, id is 0,
//           so every q is 8; a d beyond f16 is stored as +-65504 (q8_0.hpp says why).
// Decode    x' = (q - 8) * f32(d)
// Bound     |x - x'| <= |d| (half a step; a whole one at -m, where q = 16 is cut to 15)
//           + max|x| 2^-11 + 2^-21, while |d| <= 65504
// Exactness reference and SIMD agree bit for bit on every target.
//           Decoded values, as f32 and while scales are normal, encode to the same bytes again.

#include "kernels/ggml_blocks.hpp"
#include "kernels/registry.hpp"

namespace viva::kernels::q4_0 {

inline constexpr std::uint32_t block_bytes = 18;

/// The code of t = x * id, in [-8, 8] up to rounding.
VIVA_HD constexpr std::uint8_t code_of(float t) noexcept {
  const int q = static_cast<int>(t + 8.5f);
  return static_cast<std::uint8_t>(q < 15 ? q : 15);
}

VIVA_HD inline void encode_block(const float* x, std::byte* block) noexcept {
  constexpr std::size_t half = ggml_block_values / 2;
  const float d = extreme_of(x, ggml_block_values) / -8.0f;
  const float inverse = ggml_inverse(d);
  store_as(ggml_f16(d), block);
  for (std::size_t j = 0; j < half; ++j)
    block[2 + j] =
        static_cast<std::byte>(code_of(x[j] * inverse) | code_of(x[j + half] * inverse) << 4);
}

/// True where the scale is a number.
VIVA_HD inline bool is_whole(const std::byte* block) noexcept {
  return is_finite(f32_from_f16(load_as<std::uint16_t>(block)));
}

VIVA_HD inline float decode_value(const std::byte* block, std::size_t j) noexcept {
  const float d = f32_from_f16(load_as<std::uint16_t>(block));
  return static_cast<float>(ggml_nibble(block + 2, j) - 8) * d;
}

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

} // namespace viva::kernels::q4_0
