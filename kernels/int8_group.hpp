#pragma once

// INT8 per group: 8-bit integers and one scale for each group of 128, 64 or 32 columns.
//
// Source    compressed-tensors' symmetric rule (int8.hpp) with strategy "group": W8A16
// Planes    codes (rows, cols) u8, code + 128 · scales (rows, cols / group) in the source's type
// Encode    int8's, for each group: scale = max|x| / 127.5 rounded to the source's type, a zero
//           becomes that type's epsilon; code = rint(clamp(x / scale, -128, 127))
// Decode    x' = code * scale, one f32 product
// Bound     int8's, with the largest magnitude of the group
// Exactness reference and SIMD agree bit for bit on every target.

#include "kernels/registry.hpp"

namespace viva::kernels::int8_group {

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

} // namespace viva::kernels::int8_group
