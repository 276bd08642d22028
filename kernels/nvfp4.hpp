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
#include "kernels/scalar.hpp"

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

/// What a block errs by the scale of `scale_code`: four-or-six's cost (below). `weights` has a
/// number for each value, or is null where all weigh the same.
VIVA_HD inline float cost_of(const float* x, const float* weights, std::uint8_t scale_code,
                             float global) noexcept {
  const float factor = factor_of(scale_code, global);
  float e[block_values];
  for (std::size_t i = 0; i < block_values; ++i) {
    const float y = x[i] / factor;
    const float error = magnitude(y) - magnitude(f32_from_e2m1(e2m1_from_f32(y)));
    const float square = error * error;
    e[i] = weights == nullptr ? square : weights[i] * square;
  }
  float t[4];
  for (std::size_t j = 0; j < 4; ++j)
    t[j] = (e[j] + e[j + 8]) + (e[j + 4] + e[j + 12]);
  const float scale = f32_from_e4m3(scale_code);
  return ((t[0] + t[2]) + (t[1] + t[3])) * (scale * scale);
}

/// The code of a block's scale by four-or-six.
VIVA_HD inline std::uint8_t cheaper_scale(const float* x, const float* weights,
                                          float global) noexcept {
  const float amax = magnitude_max(x, block_values);
  const auto six = scale_code_of(amax, 6.0f, global);
  const auto four = scale_code_of(amax, 4.0f, global);
  return cost_of(x, weights, four, global) < cost_of(x, weights, six, global) ? four : six;
}

/// The eight bytes of a block's codes by the scale of `scale_code`.
VIVA_HD inline void put_codes(const float* x, std::uint8_t scale_code, float global,
                              std::byte* codes) noexcept {
  const float factor = factor_of(scale_code, global);
  for (std::size_t i = 0; i < block_values; i += 2)
    codes[i / 2] = static_cast<std::byte>(e2m1_from_f32(x[i] / factor)
                                          | e2m1_from_f32(x[i + 1] / factor) << 4);
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
