#pragma once

// NF4 with f16 scales: 4.25 bits per value at 64 values per block. No engine reads it.
//
// Planes    codes and blocks as nf4 · absmax f16 (blocks)
// Encode    codes are nf4's, by the exact absmax; absmax is rounded to f16 afterwards, and
// saturates
//           at 65504
// Decode    x' = level(code) * absmax
// Bound     |x - x'| <= (0.1520 + 2^-11) absmax + 2^-25 where absmax is in [2^-126, 65504];
//           elsewhere, and always, |x - x'| <= absmax
// Exactness reference and SIMD agree bit for bit on every target.
//           Decoded values, as f32 and while scales are normal, encode to the same bytes again.

#include "kernels/registry.hpp"

namespace viva::kernels::nf4_f16 {

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

} // namespace viva::kernels::nf4_f16
