#pragma once

// The bounds that the methods' headers state, as formulas.

#include "kernels/registry.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

namespace viva::kernels::testing {

/// How far a decoded value may be from its source, given the largest magnitude of the values that
/// share its scale.
struct stated_bound {
  std::size_t block; ///< Values that share a scale, in flat order; 0: a row's do.
  double (*of)(double amax, dtype source);
  double amax_max = 1e300;  ///< Above, a scale saturates and no bound is stated.
  bool across_rows = false; ///< `block` columns of all rows share a scale; 0: all values do.
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
inline double int4_bound(double amax, double steps, bool asym, dtype source) {
  const double step = amax / steps;
  const double rounding = scale_rounding(source);
  if (scale_is_coarse(step / 16, source)) // with a zero point the scale may be much smaller
    return amax * slack;
  return (0.5 * step * (1 + rounding) + (asym ? 2 : 1) * amax * rounding) * slack;
}
template <int Steps10, bool Asym>
double int4_bound_of(double amax, dtype source) {
  return int4_bound(amax, Steps10 / 10.0, Asym, source);
}

/// With a refitted scale; `weighed`: with channels.
inline double int4_search_bound(double amax, bool weighed, dtype source) {
  if (scale_is_coarse(amax / 7.5 / 16, source))
    return amax * slack;
  return amax * ((weighed ? 0.725 : 0.535) + (source == dtype::bf16 ? 0.015 : 0)) * slack;
}

/// nf4-f16's: the floor of 1e-38, f16's range and its subnormals only ever shrink what is decoded.
inline double nf4_f16_bound(double amax, dtype) {
  const double usual = (0.1520 + 0x1p-11) * amax + 0x1p-25;
  return amax >= 0x1p-126 && amax <= 65504 ? std::min(amax, usual) : amax;
}

inline const std::map<std::string_view, stated_bound>& stated_bounds() {
  static const std::map<std::string_view, stated_bound> bounds = {
      {"fp8", {0, fp8_bound}},
      {"fp8-block", {128, fp8_bound, 1e300, true}},
      {"fp8-tensor", {0, fp8_bound, 1e300, true}},
      {"mxfp4", {32, [](double amax, dtype) { return mxfp4_bound(amax, 5, 0x1.cp127); }}},
      {"mxfp4-ggml", {32, [](double amax, dtype) { return mxfp4_bound(amax, 4, 0x1.ffffp127); }}},
      {"nvfp4-ggml",
       {16, [](double amax,
               dtype) { return amax > 2688 ? amax : (0.2 * amax + 6 * 0x1p-10) * slack; }}},
      {"int8", {0, int8_bound}},
      {"int8-tensor", {0, int8_bound, 1e300, true}},
      {"int8-group", {128, int8_bound}},
      {"int8-group:group=32", {32, int8_bound}},
      {"llm-int8",
       {0, [](double amax, dtype) { return (amax / 254 + amax * 3 * 0x1p-12 + 0x1p-25) * slack; },
        65504.0}},
      {"int4", {128, int4_bound_of<75, false>}},
      {"int4:absmax", {128, int4_bound_of<70, false>}},
      {"int4:group=32:asym", {32, int4_bound_of<75, true>}},
      {"int4:search",
       {128, [](double amax, dtype source) { return int4_search_bound(amax, false, source); }}},
      {"int4:group=32:asym:search",
       {32, [](double amax, dtype source) { return int4_search_bound(amax, false, source); }}},
      {"nf4", {64, [](double amax, dtype) { return amax >= 0x1p-126 ? 0.1520 * amax : amax; }}},
      {"nf4-f16", {64, nf4_f16_bound}},
      {"nf4-signed",
       {64, [](double amax, dtype) { return amax >= 0x1p-126 ? 0.1437 * amax : amax; }}},
      {"q8_0",
       {32, [](double amax, dtype) { return (amax / 254 + amax * 0x1p-11 + 0x1p-18) * slack; },
        8 * 65504.0}},
      {"awq", {128, [](double amax, dtype) { return 0.49 * amax + 1e-6; }, 7 * 65504.0}},
      {"awq:rtn", {128, [](double amax, dtype) { return 0.137 * amax + 1e-6; }, 7 * 65504.0}},
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
      // What is dropped becomes zero; sparse24_test holds what is kept to its bits.
      {"sparse24", {4, [](double amax, dtype) { return amax; }}},
      {"sparse24-dense", {4, [](double amax, dtype) { return amax; }}},
      {"sparse24-cutlass", {4, [](double amax, dtype) { return amax; }}},
  };
  return bounds;
}

/// Stacks, by whose bound what they keep is held to.
inline const std::map<std::string_view, std::string_view>& stacked_on() {
  static const std::map<std::string_view, std::string_view> inner = {
      {"sparse24+int8", "int8"},   {"sparse24-cutlass+int8", "int8"},
      {"sparse24+nf4", "nf4-f16"}, {"sparse24+nf4-dq", "nf4-dq"},
      {"sparse24+int4", "int4"},   {"sparse24+int4:search", "int4:search"}};
  return inner;
}

} // namespace viva::kernels::testing
