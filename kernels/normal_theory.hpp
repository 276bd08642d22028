#pragma once

// What SQNR a method must show on N(0,1), by integration instead of measurement.
//
// 6.02 N + 1.76 is the figure of a full-scale sine and says nothing about weights. A method that
// scales a block of n normal values by its largest magnitude a quantizes n - 1 values of the normal
// distribution cut at +-a, and a itself; a has the density n 2 phi(a) (2 Phi(a) - 1)^(n - 1). So
//
//   E[error^2 of a block] = E_a[(a - Q(a))^2 + (n - 1) E[(x - Q(x))^2 : |x| < a]]
//
// and SQNR = 10 log10(n / that). For a uniform quantizer it comes to 10 log10(12 q^2 / E[a^2]).
// There is no such form where more than one number of a block settles its scale: a minimum and a
// maximum (q4_1, q5_1, awq, int4:asym), or all values (int4:search, awq's clips,
// nvfp4-four-or-six); nor for what 2:4 keeps, which is not normal any more (sparse24+METHOD).

#include "kernels/registry.hpp"

#include <functional>

namespace viva::kernels {

/// `quantize(x, a)`: what x is decoded to in a block whose value of largest magnitude is a > 0.
/// Exact to about 0.001 dB. REQUIRES: block >= 1.
double normal_sqnr_db(std::uint64_t block,
                      const std::function<double(double x, double a)>& quantize);

// One for each rule of the registry, for its `sqnr_db_theory`: dB, or NaN where its options have no
// such form.
namespace normal_theory {

using theory_fn = double(const recipe&, std::uint64_t rows, std::uint64_t cols);
theory_fn int8, int8_tensor, int8_group, llm_int8, int4, fp8, fp8_tensor, fp8_block;
theory_fn nf4, nf4_signed, nvfp4, nvfp4_ggml, mxfp4, mxfp4_ggml;
theory_fn q8_0, q4_0, q5_0;
theory_fn sparse24; ///< The two largest of four kept, exactly.

} // namespace normal_theory
} // namespace viva::kernels
