#pragma once

// MXFP4 as GGUF holds it: one plane of 17-byte blocks, 4.25 bits per value.
//
// Source    ggml, quantize_row_mxfp4_ref.
// Plane     blocks: each 32 values of a row are e:E8M0 qs:u8[16]; qs[j] holds value j in its low
//           and value j + 16 in its high nibble.
// Encode    e = floor(log2(max|block|)) - 2 + 127, log2 rounded to f32 first (ggml_fp4.hpp); 0 for
//           a block of zeros and wherever that would be below 0
//           code = the first of the nearest levels: ties towards zero, never -0
// Decode    x' = level * 2^(e - 127)
// Bound     |x - x'| <= max|block| / 4 + 2^-129
// Exactness reference and SIMD agree bit for bit on every target.
//           Decoded values, as f32 and while scales are normal, encode to the same bytes again.

#include "kernels/ggml_blocks.hpp"
#include "kernels/ggml_fp4.hpp"
#include "kernels/registry.hpp"

namespace viva::kernels::mxfp4_ggml {

inline constexpr std::uint32_t block_values = 32;
inline constexpr std::uint32_t block_bytes = 17;

VIVA_HD constexpr std::uint8_t scale_code_of(float amax) noexcept {
  const int e = amax < 0x1p-126f ? 0 : ggml_floor_log2(amax) - 2 + 127;
  return static_cast<std::uint8_t>(e > 0 ? e : 0);
}

VIVA_HD inline void encode_block(const float* x, std::byte* block) noexcept {
  constexpr std::size_t half = block_values / 2;
  const auto code = scale_code_of(magnitude_max(x, block_values));
  const float scale = f32_from_e8m0(code);
  block[0] = static_cast<std::byte>(code);
  for (std::size_t j = 0; j < half; ++j)
    block[1 + j] =
        static_cast<std::byte>(ggml_e2m1(x[j], scale) | ggml_e2m1(x[j + half], scale) << 4);
}

/// True where the scale is a number.
VIVA_HD inline bool is_whole(const std::byte* block) noexcept {
  return static_cast<std::uint8_t>(block[0]) != 255;
}

VIVA_HD inline float decode_value(const std::byte* block, std::size_t j) noexcept {
  const auto code = static_cast<std::uint8_t>(ggml_nibble(block + 1, j));
  return f32_from_e2m1(code) * f32_from_e8m0(static_cast<std::uint8_t>(block[0]));
}

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

} // namespace viva::kernels::mxfp4_ggml
