#pragma once

// NF4-signed: 16 levels fitted to the normal distribution, one signed f32 scale per block: NF4's
// bits and bytes, 0.6 dB better.
//
// Source    ours. A block divided by its value of largest magnitude, sign included, always has its
//           extreme at +1, so only one level needs to stand at an end and the other fifteen go
//           where the values are. The levels are Lloyd's (1957) for u = x / extreme of 64 normal
//           values, each error weighted by extreme^2, with level 7 held at zero and level 15 at 1.
// Planes    codes u8, two values per byte, the first in the high nibble, an odd last value padded
//           with code 7 · extremes f32 (blocks)
//           Blocks run in flat order across rows; the last may be short.
// Encode    m = the value of largest magnitude, the first of equals;
//           u = x * (1 / copysign(max(|m|, 1e-38), m)); code = #{ t : t < u }, t the f32 midpoints
// Decode    x' = level(code) * m
// Bound     |x - x'| <= 0.1437 |m|: where -m is in the block, too, it meets the lowest level. Below
//           |m| = 2^-126, |x - x'| <= |m|: the floor of 1e-38 only moves codes towards zero.
// Exactness reference and SIMD agree bit for bit on every target: one product, 15 comparisons.
//           Decoded values, as f32 and while scales are normal, encode to the same bytes again.

#include "kernels/convert.hpp"
#include "kernels/registry.hpp"

#include <array>

namespace viva::kernels::nf4_signed {

/// The level of each code, ascending; level 7 is zero.
VIVA_HD constexpr float level(unsigned code) noexcept {
  constexpr float all[16] = {
      -0.85639540f, -0.66905198f, -0.52337206f, -0.40035601f, -0.29101180f, -0.18985712f,
      -0.09374817f, 0.0f,         0.08882972f,  0.17955755f,  0.27429237f,  0.37595706f,
      0.48860422f,  0.61866234f,  0.77894436f,  1.0f,
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

/// The code of `u`, a value already divided by its block's extreme.
VIVA_HD constexpr std::uint8_t code_of(float u) noexcept {
  std::uint8_t code = 0;
  for (int i = 0; i < 15; ++i)
    code += threshold(i) < u ? 1 : 0;
  return code;
}

/// What a block's values are multiplied by.
VIVA_HD inline float inverse_of(float extreme) noexcept {
  const float floor = magnitude(extreme) > 1e-38f ? magnitude(extreme) : 1e-38f;
  return 1.0f / float_of(bits_of(floor) | (bits_of(extreme) & 0x80000000u));
}

inline constexpr std::uint8_t code_of_zero = 7;

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

} // namespace viva::kernels::nf4_signed
