#pragma once

// LLM.int8: 8-bit integers and one f32 scale per row, as bitsandbytes keeps them.
//
// Source    Dettmers et al., "LLM.int8()", arXiv:2208.07339; bytes as bitsandbytes 0.46 writes them
//           for a weight, which it takes as f16.
// Planes    codes (rows, cols) i8 · scb (rows) f32
// Encode    w = x rounded to f16, beyond +-65504 saturated; scb = max|w| of the row;
//           code = rint(w * (127 / scb)), a quotient and a product, ties to even; a row of zeros
//           has codes 0
// Decode    x' = (code * scb) * f32(1 / 127), two f32 products, as bitsandbytes multiplies
// Bound     |x - x'| <= scb / 254 + max|x| 2^-11 + 2^-25 where |x| <= 65504: half a step, and what
//           f16 loses (nothing of f16 sources)
// Exactness reference and SIMD agree bit for bit on every target.

#include "kernels/convert.hpp"
#include "kernels/registry.hpp"

#include <cmath>

namespace viva::kernels::llm_int8 {

/// `x` as f16 has it.
VIVA_HD constexpr float half_of(float x) noexcept {
  return f32_from_f16(f16_from_f32(x > 65504.0f ? 65504.0f : x < -65504.0f ? -65504.0f : x));
}

/// What a row's values are multiplied by.
VIVA_HD constexpr float inverse_of(float scb) noexcept {
  return scb > 0 ? 127.0f / scb : 0.0f;
}

VIVA_HD inline std::int8_t code_of(float w, float inverse) noexcept {
  return static_cast<std::int8_t>(std::rint(w * inverse));
}

/// bitsandbytes' 1 / 127.
inline constexpr float step = 7.874015718698502e-3f;

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

} // namespace viva::kernels::llm_int8
