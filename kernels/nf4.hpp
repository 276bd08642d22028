#pragma once

// NF4: 4-bit NormalFloat, one f32 scale per block, 4.5 bits per value at 64 values per block.
//
// Source    Dettmers et al., "QLoRA", arXiv:2305.14314, section 3; bytes as bitsandbytes 0.46 and
//           later write them.
// Planes    codes u8, two values per byte, the first in the high nibble, an odd last value padded
//           with code 7 · absmax f32 (blocks)
//           Blocks run in flat order across rows; the last may be short.
// Encode    absmax = max|x|; u = x * (1 / max(absmax, 1e-38)); code = #{ t : t < u }
//           A value on a threshold takes the lower code. A block of zeros has absmax 0 and codes 7.
//           The floor of 1e-38 is bitsandbytes' and keeps 1 / absmax finite.
// Decode    x' = level(code) * absmax
// Bound     |x - x'| <= 0.1520 absmax (half the widest gap, rounded up) where absmax >= 2^-126;
//           below, |x - x'| <= absmax, since the floor only moves codes towards zero.
// Exactness reference and SIMD agree bit for bit on every target: one product, 15 comparisons.
//           Decoded values, as f32 and while scales are normal, encode to the same bytes again.

#include "kernels/portability.hpp"
#include "kernels/registry.hpp"

#include <array>

namespace viva::kernels::nf4 {

/// The level of each code, ascending; level 7 is zero.
VIVA_HD constexpr float level(unsigned code) noexcept {
  constexpr float all[16] = {
      -1.0f,         -0.69619280f, -0.52507305f, -0.39491749f, -0.28444138f, -0.18477343f,
      -0.091050036f, 0.0f,         0.079580300f, 0.16093020f,  0.24611230f,  0.33791524f,
      0.44070983f,   0.56261700f,  0.72295684f,  1.0f,
  };
  return all[code];
}
inline constexpr std::array<float, 16> levels = [] {
  std::array<float, 16> all{};
  for (unsigned code = 0; code < 16; ++code)
    all[code] = level(code);
  return all;
}();

/// The border between codes `i` and `i + 1`, for i in [0, 15): the f32 midpoint.
VIVA_HD constexpr float threshold(int i) noexcept {
  return (level(static_cast<unsigned>(i)) + level(static_cast<unsigned>(i) + 1)) * 0.5f;
}

/// The code of `u`, a value already divided by its block's scale.
VIVA_HD constexpr std::uint8_t code_of(float u) noexcept {
  std::uint8_t code = 0;
  for (int i = 0; i < 15; ++i)
    code += threshold(i) < u ? 1 : 0;
  return code;
}

/// What a block's values are multiplied by.
VIVA_HD constexpr float inverse_of(float absmax) noexcept {
  return 1.0f / (absmax > 1e-38f ? absmax : 1e-38f);
}

inline constexpr std::uint8_t code_of_zero = 7;

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

// For methods that keep the codes and store the scales in their own way. `absmax` has one f32 for
// each block of `block` values.
void encode_blocks_reference(const matrix& in, std::size_t block, std::byte* codes,
                             float* absmax) noexcept;
void decode_blocks_reference(const std::byte* codes, const float* absmax, std::size_t values,
                             std::size_t block, float* out) noexcept;

} // namespace viva::kernels::nf4
