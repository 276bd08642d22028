#pragma once

// The scales of GGUF blocks: what both overflows become (q8_0.hpp says why).

#include "kernels/convert.hpp"

namespace viva::kernels {

/// 1 / d, or 0 where that is not a number to multiply with.
VIVA_HD constexpr float ggml_inverse(float d) noexcept {
  const float inverse = d != 0 ? 1.0f / d : 0.0f;
  return is_finite(inverse) ? inverse : 0.0f;
}

/// f16 of `x`, saturated at +-65504.
VIVA_HD constexpr std::uint16_t ggml_f16(float x) noexcept {
  return f16_from_f32(x > 65504.0f ? 65504.0f : x < -65504.0f ? -65504.0f : x);
}

} // namespace viva::kernels
