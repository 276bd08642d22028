#pragma once

// MXFP4: E2M1 codes and a power of two per 32 values, 4.25 bits per value.
//
// Source    OCP Microscaling Formats 1.0; compressed-tensors' mxfp4-pack-quantized (the exponent).
// Planes    codes u8, two values per byte, the first in the low nibble · scales E8M0 (values / 32)
// Encode    e = exponent of max|block| rounded up from 1.75 on, less 2, biased, not below 0
//           code = E2M1(x / 2^(e - 127)), ties to the even code, beyond 6 saturated
// Decode    x' = level * 2^(e - 127)
// Bound     |x - x'| <= max|block| / 5 + 2^-129. Magnitudes from 1.75 2^127 on become infinite.
// Exactness reference and SIMD agree bit for bit on every target.
//           Decoded values, as f32 and while scales are normal, encode to the same bytes again.

#include "kernels/minifloat.hpp"
#include "kernels/registry.hpp"
#include "kernels/scalar.hpp"

namespace viva::kernels::mxfp4 {

inline constexpr std::uint32_t block_values = 32;

/// The code of the scale of a block whose largest magnitude is `amax`.
VIVA_HD constexpr std::uint8_t scale_code_of(float amax) noexcept {
  const int exponent = e8m0_from_f32(float_of(bits_of(amax) + (1u << 21)));
  return static_cast<std::uint8_t>(exponent > 2 ? exponent - 2 : 0);
}

/// Sixteen bytes of codes, and the code of the scale.
VIVA_HD inline std::uint8_t encode_block(const float* x, std::byte* codes) noexcept {
  const auto code = scale_code_of(magnitude_max(x, block_values));
  const float scale = f32_from_e8m0(code);
  for (std::size_t i = 0; i < block_values; i += 2)
    codes[i / 2] = static_cast<std::byte>(e2m1_from_f32(x[i] / scale)
                                          | e2m1_from_f32(x[i + 1] / scale) << 4);
  return code;
}

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

} // namespace viva::kernels::mxfp4
