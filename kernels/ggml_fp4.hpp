#pragma once

// ggml's FP4: the search for the nearest level, its E4M3 and its logarithm.

#include "kernels/minifloat.hpp"

namespace viva::kernels {

/// The first of the 16 codes whose level times `scale` is nearest to `x`: among equally near ones
/// that of smaller magnitude, and never -0. The differences are exact wherever two codes compete.
/// What lies beyond the largest level has its code; ggml's own search finds no difference between
/// the codes, and so takes 0, where `x` is 2^22 times as large.
VIVA_HD constexpr std::uint8_t ggml_e2m1(float x, float scale) noexcept {
  const float largest = e2m1_max * scale;
  const float held = x > largest ? largest : x < -largest ? -largest : x;
  std::uint8_t best = 0;
  float best_error = magnitude(held);
  for (std::uint8_t code = 1; code < 16; ++code) {
    const float error = magnitude(f32_from_e2m1(code) * scale - held);
    if (error < best_error) {
      best = code;
      best_error = error;
    }
  }
  return best;
}

/// ggml's unsigned E4M3 of x >= 0: halves go up; everything that rounds to 256 or more becomes 448.
VIVA_HD constexpr std::uint8_t ggml_ue4m3(float x) noexcept {
  if (x >= e4m3_max)
    return 0x7E;
  if (x < 0x1p-6f) {
    const int man = static_cast<int>(x * 512.0f + 0.5f);
    return static_cast<std::uint8_t>(man < 7 ? man : 7);
  }
  const std::uint32_t code = ((bits_of(x) + 0x80000u) >> 20) - (120u << 3);
  return static_cast<std::uint8_t>(code < 15u << 3 ? code : 0x7Eu);
}

/// floorf(log2f(x)) of a normal x > 0, by a log2f that is correctly rounded: the exponent, or one
/// more where x lies so few ulp below a power of two that its logarithm rounds to the integer.
/// Never 128, by which the levels 4 and 6 would be infinite.
VIVA_HD constexpr int ggml_floor_log2(float x) noexcept {
  const int exponent = static_cast<int>(magnitude_bits(x) >> 23) - 127;
  const std::uint32_t ulps_below = 0x800000u - (bits_of(x) & 0x7FFFFFu);
  const int top = exponent + 1; // log2(x) = top - ulps_below 2^-24 / ln 2
  if (top == 0 || top == 128 || ulps_below > 128)
    return exponent;
  int half_spacing = 1; // of the floats just below `top`, in units of 2^-24
  for (int limit = top > 0 ? top - 1 : -top; limit > 1; limit /= 2)
    half_spacing *= 2;
  if (top == 1)
    half_spacing = 0;
  return ulps_below * 14427u <= static_cast<std::uint32_t>(half_spacing) * 10000u ? top : exponent;
}

} // namespace viva::kernels
