#pragma once

// What SQNR a method must show on N(0,1), by integration instead of measurement.
//
// 6.02 N + 1.76 is the figure of a full-scale sine and says nothing about weights. What settles a
// block's scale are its extremes, and these are random, too; normal_blocks.hpp integrates over
// them: over the largest magnitude where a scale is made from it, over minimum and maximum for
// q4_1, q5_1, awq and int4:asym. A uniform quantizer has 10 log10(12 q^2 / E[a^2]) by it.
//
// Encoders that search (int4:search, awq's clips, nvfp4-four-or-six) keep the best of several ways.
// int4's refitted scale of a way is that of expected sums: s = E[x k] / E[k k], k the level of x.
//
// Of four values 2:4 loses the energy of the smaller two, and a stack errs on the others as its
// method does on values of their distribution:  SQNR = 10 log10(4 / (E[lost] + 2 E[(x - x')^2])).

#include "kernels/registry.hpp"

#include <functional>

namespace viva::kernels {

/// `quantize(x, a)`: what x is decoded to in a block whose value of largest magnitude is a > 0.
/// Integrated to about 0.001 dB. REQUIRES: block >= 1.
double normal_sqnr_db(std::uint64_t block,
                      const std::function<double(double x, double a)>& quantize);

// One for each rule of the registry, for its `sqnr_db_theory`, with every option.
namespace normal_theory {

using theory_fn = double(const recipe&, std::uint64_t rows, std::uint64_t cols);
theory_fn int8, int8_tensor, int8_group, llm_int8, int4, fp8, fp8_tensor, fp8_block;
theory_fn nf4, nf4_signed, nvfp4, nvfp4_four_or_six, nvfp4_ggml, mxfp4, mxfp4_ggml;
theory_fn q8_0, q4_0, q4_1, q5_0, q5_1, awq;
theory_fn sparse24; ///< The two largest of four kept, exactly.
theory_fn sparse24_int8, sparse24_nf4, sparse24_int4;

} // namespace normal_theory
} // namespace viva::kernels
