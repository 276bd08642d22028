#pragma once

// The bounds that the methods' headers state, as formulas.

#include "kernels/registry.hpp"

#include <cmath>
#include <map>
#include <string>

namespace viva::kernels::testing {

/// How far a decoded value may be from its source, given the largest magnitude of the values that
/// share its scale.
struct stated_bound {
  std::size_t block; ///< Values that share a scale; 0: a row does.
  double (*of)(double amax, dtype source);
};

/// Roundings of products and sums in f32, a few ulp, that every header leaves unsaid.
inline constexpr double slack = 1 + 0x1p-18;

inline const std::map<std::string_view, stated_bound>& stated_bounds() {
  static const std::map<std::string_view, stated_bound> bounds = {
      {"int8",
       {0,
        [](double amax, dtype source) {
          const double step = amax / 127.5;
          const double rounding = source == dtype::bf16  ? 0x1p-8
                                  : source == dtype::f16 ? 0x1p-11
                                                         : 0x1p-22;
          const double smallest_normal = source == dtype::f16 ? 0x1p-14 : 0x1p-126;
          if (step < smallest_normal)
            return amax;
          return (0.5 * step * (1 + rounding) + amax * rounding) * slack;
        }}},
      {"nf4", {64, [](double amax, dtype) { return amax >= 0x1p-126 ? 0.1520 * amax : 2 * amax; }}},
      {"q8_0",
       {32, [](double amax, dtype) { return (amax / 254 + amax * 0x1p-11 + 0x1p-18) * slack; }}},
      {"q4_0",
       {32, [](double amax, dtype) { return (amax / 8 + amax * 0x1p-11 + 0x1p-21) * slack; }}},
      {"awq", {128, [](double amax, dtype) { return 0.6 * amax * slack + 1e-6; }}},
  };
  return bounds;
}

} // namespace viva::kernels::testing
