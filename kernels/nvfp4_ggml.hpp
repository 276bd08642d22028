#pragma once

// NVFP4 as GGUF holds it: one plane of 36-byte blocks without a scale of the tensor, 4.5 bits per
// value.
//
// Source    ggml, quantize_row_nvfp4_ref.
// Plane     blocks: each 64 values of a row are d:E4M3[4] qs:u8[32], one d per 16 values; byte j of
//           the 8 of a d holds its value j in the low and its value j + 8 in the high nibble.
// Encode    d = unsigned E4M3 of max|16 values| / 6, halves up, 248 and more to 448 (ggml_fp4.hpp)
//           code = the first of the nearest levels: ties towards zero, never -0; 0 where d is 0
// Decode    x' = level * d
// Bound     |x - x'| <= 0.2 max|16 values| + 6 * 2^-10 while that maximum is at most 2688; else
//           max|16 values|. Without a scale of the tensor, weights below 0.1 lose precision.
// Exactness reference and SIMD agree bit for bit on every target. SIMD divides where ggml searches:
//           x / d, rounded, lies on the same side of a midpoint of two levels as x does of the
//           midpoint times d, since d has four significant bits and a midpoint three.

#include "kernels/ggml_fp4.hpp"
#include "kernels/registry.hpp"
#include "kernels/scalar.hpp"

namespace viva::kernels::nvfp4_ggml {

inline constexpr std::uint32_t block_values = 64;
inline constexpr std::uint32_t block_bytes = 36;
inline constexpr std::uint32_t part_values = 16; ///< Values that share a d.

inline constexpr std::size_t parts = block_values / part_values;

/// The 64 values of a block.
VIVA_HD inline void encode_block(const float* x, std::byte* block) noexcept {
  constexpr std::size_t half = part_values / 2;
  for (std::size_t part = 0; part < parts; ++part, x += part_values) {
    const auto code = ggml_ue4m3(magnitude_max(x, part_values) / 6.0f);
    const float scale = f32_from_e4m3(code);
    block[part] = static_cast<std::byte>(code);
    for (std::size_t j = 0; j < half; ++j)
      block[parts + part * half + j] =
          static_cast<std::byte>(ggml_e2m1(x[j], scale) | ggml_e2m1(x[j + half], scale) << 4);
  }
}

/// True where all scales are numbers.
VIVA_HD inline bool is_whole(const std::byte* block) noexcept {
  bool whole = true;
  for (std::size_t part = 0; part < parts; ++part)
    whole = whole && static_cast<std::uint8_t>(block[part]) <= 0x7E;
  return whole;
}

VIVA_HD inline float decode_value(const std::byte* block, std::size_t j) noexcept {
  constexpr std::size_t half = part_values / 2;
  const std::size_t part = j / part_values, i = j % part_values;
  const auto byte = static_cast<unsigned>(block[parts + part * half + i % half]);
  const auto code = static_cast<std::uint8_t>(i < half ? byte : byte >> 4);
  return f32_from_e2m1(code) * f32_from_e4m3(static_cast<std::uint8_t>(block[part]));
}

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

} // namespace viva::kernels::nvfp4_ggml
