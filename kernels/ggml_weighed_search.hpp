#pragma once

// The searches of ggml_weighed.hpp, one block at a time, slow and obvious: what the reference and
// the device share.

#include "kernels/ggml_weighed.hpp"

#include <cmath>

namespace viva::kernels::ggml_weighed {

/// How much a value matters, by its column's channel and its row's mean square.
VIVA_HD inline float weight_of(float x, float channel, float mean) noexcept {
  return channel * std::sqrt(mean + x * x);
}

/// rint(v) within [low, high].
VIVA_HD inline float level_of(float v, float low, float high) noexcept {
  const float rounded = std::rint(v);
  return rounded < low ? low : rounded > high ? high : rounded;
}

VIVA_HD inline void sums_of(const float* x, const float* w, float inverse, float n, float& product,
                            float& square) noexcept {
  product = square = 0;
  for (std::size_t j = 0; j < values; ++j) {
    const float l = level_of(inverse * x[j], -n, n - 1);
    product += w[j] * x[j] * l;
    square += w[j] * l * l;
  }
}

VIVA_HD inline found_block search_without_min(const format& as, const float* x,
                                              const float* w) noexcept {
  const auto n = static_cast<float>(as.steps);
  found_block found;
  float amax = 0, extreme = 0;
  for (std::size_t j = 0; j < values; ++j)
    if (magnitude(x[j]) > amax) {
      amax = magnitude(x[j]);
      extreme = x[j];
    }
  if (amax < 1e-15f)
    return found;
  float best_inverse = -n / extreme, product = 0, square = 0;
  sums_of(x, w, best_inverse, n, product, square);
  found.d = square != 0 ? product / square : 0.0f;
  float best = found.d * product;
  for (int i = -refits; i <= refits; ++i) {
    if (i == 0)
      continue;
    const float inverse = numerator_of(as.steps, i) / extreme;
    sums_of(x, w, inverse, n, product, square);
    if (square > 0 && product * product > best * square) {
      best_inverse = inverse;
      found.d = product / square;
      best = found.d * product;
    }
  }
  for (std::size_t j = 0; j < values; ++j)
    found.codes[j] = static_cast<std::uint8_t>(level_of(best_inverse * x[j], -n, n - 1) + n);
  return found;
}

/// Codes by `inverse` above `min`.
VIVA_HD inline void levels_of(const float* x, float inverse, float min, float n,
                              float* codes) noexcept {
  for (std::size_t j = 0; j < values; ++j)
    codes[j] = level_of(inverse * (x[j] - min), 0, n);
}

VIVA_HD inline float error_of(const float* x, const float* w, const float* codes, float d,
                              float min) noexcept {
  float error = 0;
  for (std::size_t j = 0; j < values; ++j) {
    const float off = d * codes[j] + min - x[j];
    error += w[j] * (off * off);
  }
  return error;
}

/// Least squares of d and min, at most 0, over the codes. False where there are none.
VIVA_HD inline bool refit(const float* x, const float* w, const float* codes, float sum_w,
                          float sum_x, float& d, float& min) noexcept {
  float sum_l = 0, sum_l2 = 0, sum_xl = 0;
  for (std::size_t j = 0; j < values; ++j) {
    sum_l += w[j] * codes[j];
    sum_l2 += w[j] * codes[j] * codes[j];
    sum_xl += w[j] * codes[j] * x[j];
  }
  const float determinant = sum_w * sum_l2 - sum_l * sum_l;
  if (!(determinant > 0))
    return false;
  d = (sum_w * sum_xl - sum_x * sum_l) / determinant;
  min = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
  if (min > 0) {
    min = 0;
    d = sum_xl / sum_l2;
  }
  return true;
}

VIVA_HD inline found_block search_with_min(const format& as, const float* x,
                                           const float* w) noexcept {
  const auto n = static_cast<float>(as.steps);
  float min = x[0], max = x[0], sum_w = w[0], sum_x = sum_w * x[0];
  for (std::size_t j = 1; j < values; ++j) {
    min = x[j] < min ? x[j] : min;
    max = x[j] > max ? x[j] : max;
    sum_w += w[j];
    sum_x += w[j] * x[j];
  }
  min = min > 0 ? 0.0f : min;
  found_block found;
  found.min = min;
  if (max <= min)
    return found;
  float codes[values], tried[values];
  const float first = n / (max - min);
  found.d = 1 / first;
  levels_of(x, first, min, n, codes);
  float best = error_of(x, w, codes, found.d, min);
  for (int i = 0; i < range_refits; ++i) {
    levels_of(x, range_numerator_of(as.steps, i) / (max - found.min), found.min, n, tried);
    float d = 0, offset = 0;
    if (!refit(x, w, tried, sum_w, sum_x, d, offset))
      continue;
    const float error = error_of(x, w, tried, d, offset);
    if (error < best) {
      best = error;
      for (std::size_t j = 0; j < values; ++j)
        codes[j] = tried[j];
      found.d = d;
      found.min = offset;
    }
  }
  for (std::size_t j = 0; j < values; ++j)
    found.codes[j] = static_cast<std::uint8_t>(codes[j] > 0 ? codes[j] : 0.0f);
  return found;
}

VIVA_HD inline found_block search_block(const format& as, const float* x, const float* w) noexcept {
  return as.has_min ? search_with_min(as, x, w) : search_without_min(as, x, w);
}

} // namespace viva::kernels::ggml_weighed
