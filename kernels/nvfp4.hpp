#pragma once

// NVFP4: E2M1 codes, an E4M3 scale per 16 values and one f32 of the tensor, 4.5 bits per value.
//
// Source    compressed-tensors' nvfp4-pack-quantized. Layers that an engine fuses share the f32.
// Planes    codes u8, two values per byte, the first in the low nibble · scales E4M3 (values / 16)
//           · global_scale f32, once
// Encode    G = 448 * 6 / max|tensor|, or 1 where that is not finite
//           S = E4M3(G * (max|block| / 6)); a zero becomes 0.125
//           code = E2M1(x / (S / G)), ties to the even code; -0 for what rounds to it from below
// Decode    x' = level * (S / G). G is a divisor.
// Bound     |x - x'| <= 0.1771 max|block| + 2^-17 max|tensor|: half the widest step by a scale that
//           is off by 1/16, and the smallest scales. While max|tensor| >= 2^-110; else max|tensor|.
// Exactness reference and SIMD agree bit for bit on every target.
//
// nvfp4-four-or-six writes the same file and is decoded by the same rule.
// Source    Cook et al., "Four Over Six", arXiv:2512.02010.
// Encode    G = 256 * 6 / max|tensor|, so that a scale half as large again is still below 448.
//           Each block is encoded with its maximum mapped to 6 (S as above) and to 4 (S by
//           max|block| / 4); the latter is kept where its cost is smaller. The cost is
//           S * S * sum of (|y| - level)^2 with y = x / (S / G), in f32, summed as
//           ((t0 + t2) + (t1 + t3)), tj = (ej + ej+8) + (ej+4 + ej+12).
// Bound     |x - x'| <= 0.1771 max|block| + 2^-16 max|tensor|, as above

#include "kernels/minifloat.hpp"
#include "kernels/registry.hpp"

namespace viva::kernels::nvfp4 {

inline constexpr std::uint32_t block_values = 16;

/// G, for the largest magnitude of the tensor and the product of the largest scale and level.
VIVA_HD constexpr float global_scale_of(float amax, float largest) noexcept {
  const float g = largest / amax;
  return is_finite(g) ? g : 1.0f;
}

/// The code of a block's scale, its largest magnitude mapped to `top`.
VIVA_HD constexpr std::uint8_t scale_code_of(float amax, float top, float global) noexcept {
  const auto code = e4m3_from_f32(global * (amax / top));
  return code == 0 ? std::uint8_t{0x20} : code;
}

/// What a block's codes are multiplied by.
VIVA_HD constexpr float factor_of(std::uint8_t scale_code, float global) noexcept {
  return f32_from_e4m3(scale_code) / global;
}

geometry shape(const recipe&, std::uint64_t cols);
tensor_numbers survey_finish(const recipe&, const survey&);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

} // namespace viva::kernels::nvfp4

namespace viva::kernels::nvfp4_four_or_six {

tensor_numbers survey_finish(const recipe&, const survey&);
encode_fn encode_reference, encode_simd;

} // namespace viva::kernels::nvfp4_four_or_six
