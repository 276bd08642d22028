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
  double amax_max = 1e300;  ///< Above, a scale saturates and no bound is stated.
  bool across_rows = false; ///< `block` columns of all rows share a scale.
};

/// Roundings of products and sums in f32, a few ulp, that every header leaves unsaid.
inline constexpr double slack = 1 + 0x1p-18;

/// fp8's, for values that share a scale.
inline double fp8_bound(double amax, dtype source) {
  const double smallest_normal = source == dtype::f16 ? 0x1p-14 : 0x1p-126;
  if (amax / 448 < smallest_normal)
    return amax;
  if (amax > 0x1.fep127)
    return HUGE_VAL;
  return (amax / 28 * (1 + 0x1p-8) + amax * 0x1p-8) * slack;
}

/// mxfp4's; what lies at or above `infinite` may decode to infinity.
inline double mxfp4_bound(double amax, double divisor, double infinite) {
  return amax < infinite ? (amax / divisor + 0x1p-129) * slack : HUGE_VAL;
}

/// What rounding a scale to the source's type may take from a value.
inline double scale_rounding(dtype source) {
  return source == dtype::bf16 ? 0x1p-8 : source == dtype::f16 ? 0x1p-11 : 0x1p-22;
}

/// True where a scale is too small to have its type's precision.
inline bool scale_is_coarse(double scale, dtype source) {
  return scale < (source == dtype::f16 ? 0x1p-14 : 0x1p-126);
}

inline double int8_bound(double amax, dtype source) {
  const double step = amax / 127.5;
  const double rounding = scale_rounding(source);
  if (scale_is_coarse(step, source))
    return amax;
  return (0.5 * step * (1 + rounding) + amax * rounding) * slack;
}

/// Of a group whose scale is amax / steps, or with a zero point at most that.
inline double int4_bound(double amax, double steps, dtype source) {
  const double step = amax / steps;
  const double rounding = scale_rounding(source);
  if (scale_is_coarse(step / 16, source)) // with a zero point the scale may be much smaller
    return 2 * amax;
  return (0.5 * step * (1 + rounding) + 2 * amax * rounding) * slack;
}

inline const std::map<std::string_view, stated_bound>& stated_bounds() {
  static const std::map<std::string_view, stated_bound> bounds = {
      {"fp8", {0, fp8_bound}},
      {"fp8-block", {128, fp8_bound, 1e300, true}},
      {"mxfp4", {32, [](double amax, dtype) { return mxfp4_bound(amax, 3.5, 0x1.cp127); }}},
      {"mxfp4-ggml",
       {32, [](double amax, dtype) { return mxfp4_bound(amax, 3.999, 0x1.ffffp127); }}},
      {"nvfp4-ggml",
       {16, [](double amax,
               dtype) { return amax > 2688 ? amax : (0.2 * amax + 6 * 0x1p-10) * slack; }}},
      {"int8", {0, int8_bound}},
      {"int8-group", {128, int8_bound}},
      {"int8-group:group=32", {32, int8_bound}},
      {"llm-int8",
       {0, [](double amax, dtype) { return (amax / 254 + amax * 3 * 0x1p-12 + 0x1p-25) * slack; },
        65504.0}},
      {"int4", {128, [](double amax, dtype source) { return int4_bound(amax, 7.5, source); }}},
      {"int4:absmax",
       {128, [](double amax, dtype source) { return int4_bound(amax, 7.0, source); }}},
      {"int4:group=32:asym",
       {32, [](double amax, dtype source) { return int4_bound(amax, 7.5, source); }}},
      {"int4:search", {128, [](double amax, dtype) { return 2 * amax; }}},
      {"nf4", {64, [](double amax, dtype) { return amax >= 0x1p-126 ? 0.1520 * amax : 2 * amax; }}},
      {"nf4-f16",
       {64,
        [](double amax, dtype) {
          return amax >= 0x1p-126 && amax <= 65504 ? (0.1520 + 0x1p-11) * amax + 0x1p-25 : 2 * amax;
        }}},
      {"nf4-signed",
       {64, [](double amax, dtype) { return amax >= 0x1p-126 ? 0.1437 * amax : 2 * amax; }}},
      {"q8_0",
       {32, [](double amax, dtype) { return (amax / 254 + amax * 0x1p-11 + 0x1p-18) * slack; },
        8 * 65504.0}},
      {"awq", {128, [](double amax, dtype) { return 0.6 * amax * slack + 1e-6; }, 7 * 65504.0}},
      {"q4_0",
       {32, [](double amax, dtype) { return (amax / 8 + amax * 0x1p-11 + 0x1p-21) * slack; },
        8 * 65504.0}},
      {"q4_1",
       {32, [](double amax, dtype) { return (amax / 15 + amax * 3 * 0x1p-11 + 0x1p-20) * slack; },
        65504.0}},
      {"q5_0",
       {32, [](double amax, dtype) { return (amax / 16 + amax * 0x1p-11 + 0x1p-20) * slack; },
        16 * 65504.0}},
      {"q5_1",
       {32, [](double amax, dtype) { return (amax / 31 + amax * 3 * 0x1p-11 + 0x1p-19) * slack; },
        65504.0}},
      // What is dropped becomes zero; sparse24_test holds what is kept to more than this.
      {"sparse24", {4, [](double amax, dtype) { return amax; }}},
      {"sparse24-dense", {4, [](double amax, dtype) { return amax; }}},
      {"sparse24-cutlass", {4, [](double amax, dtype) { return amax; }}},
      {"sparse24+int8", {0, [](double amax, dtype) { return amax * slack; }}},
      {"sparse24-cutlass+int8", {0, [](double amax, dtype) { return amax * slack; }}},
      {"sparse24+nf4", {0, [](double amax, dtype) { return 2 * amax; }}},
      {"sparse24+int4", {0, [](double amax, dtype) { return 2 * amax; }}},
      {"sparse24+nf4-dq", {0, [](double amax, dtype) { return 2 * amax; }}},
  };
  return bounds;
}

} // namespace viva::kernels::testing
