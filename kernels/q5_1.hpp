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

#include "kernels/portability.hpp"
#include "kernels/registry.hpp"

namespace viva::kernels::q5_1 {

inline constexpr std::uint32_t block_bytes = 24;

/// The code of t = (x - min) * id, in [0, 31] up to rounding.
VIVA_HD constexpr std::uint8_t code_of(float t) noexcept {
  return static_cast<std::uint8_t>(t + 0.5f);
}

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

} // namespace viva::kernels::q5_1
