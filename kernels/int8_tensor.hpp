#pragma once

// INT8 per tensor: 8-bit integers and one scale for the whole tensor.
//
// Source    compressed-tensors' symmetric W8A8 rule with strategy "tensor" (int8.hpp)
// Planes    codes (rows, cols) i8 · scale, one number in the type of the source
// Survey    the largest magnitude of the tensor; its number is the scale by int8's rule
// Encode    as int8, by that scale: the numbers' scale may stand for a larger tensor, not a smaller
// Decode    x' = code * scale, one f32 product
// Bound     int8's, with the largest magnitude of the tensor
// Exactness reference and SIMD agree bit for bit on every target.

#include "kernels/registry.hpp"

namespace viva::kernels::int8_tensor {

geometry shape(const recipe&, std::uint64_t cols);
tensor_numbers survey_finish(const recipe&, const survey&);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

} // namespace viva::kernels::int8_tensor
