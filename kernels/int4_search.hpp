#pragma once

// int4's scales, one group at a time, slow and obvious: what the reference and the device share.

#include "kernels/int4.hpp"

namespace viva::kernels::int4 {

/// a = sum x k and b = sum k k of the levels at one factor; with weights w, one for each value,
/// a = sum (w x) k and b = sum (w k) k.
VIVA_HD inline void sums_of(const float* x, const float* w, std::size_t count, group_scale by,
                            float inverse_factor, float& a, float& b) noexcept {
  const float inverse = inverse_factor * (1.0f / by.scale);
  const auto low = static_cast<float>(-8 - by.zero);
  const auto high = static_cast<float>(7 - by.zero);
  a = b = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const float t = x[i] * inverse;
    const float k = std::rint(t < low ? low : t > high ? high : t);
    const float xk = (w == nullptr ? x[i] : w[i] * x[i]) * k;
    const float kk = (w == nullptr ? k : w[i] * k) * k;
    a += xk;
    b += kk;
  }
}

/// One group by the rules of int4.hpp, whatever its length. `flags` are those of the recipe; `w`
/// has a weight for each value, or is null where all weigh the same.
VIVA_HD inline group_scale group_scale_reference(const float* x, const float* w, std::size_t count,
                                                 std::uint32_t flags, dtype source) noexcept {
  float min = 0;
  float max = 0;
  for (std::size_t i = 0; i < count; ++i) {
    min = x[i] < min ? x[i] : min;
    max = x[i] > max ? x[i] : max;
  }
  const float amax = max > -min ? max : -min;
  auto by = (flags & asym) != 0 ? asymmetric(min, max, source)
                                : symmetric(amax, (flags & absmax) != 0 ? 7.0f : 7.5f, source);
  if ((flags & search) == 0 || !searchable(amax))
    return by;
  float a[factors_count];
  float b[factors_count];
  for (std::size_t j = 0; j < factors_count; ++j)
    sums_of(x, w, count, by, inverse_factor(j), a[j], b[j]);
  by.scale = best_scale(a, b, by, source);
  return by;
}

} // namespace viva::kernels::int4
