#pragma once

// FP8: E4M3 codes and one scale per row, per tensor or per block of 128 x 128, 8 bits per value.
//
// Source    compressed-tensors' float-quantized: FP8_DYNAMIC's weights (per channel), FP8 per
//           tensor and FP8_BLOCK. Layers that an engine fuses share the scale of the tensor.
// Planes    codes E4M3 (rows, cols) · scales in the type of the source:
//           fp8 (rows), fp8-tensor one, fp8-block (ceil(rows / 128), ceil(cols / 128))
// Encode    scale = max|x| / 448 over the row, tensor or block, rounded to the source's type;
//           a zero becomes that type's epsilon
//           code = E4M3(x / scale), by the rounded scale, ties to even, beyond 448 saturated
// Decode    x' = level * scale, one f32 product
// Bound     |x - x'| <= max|x| / 28 (1 + 2^-8) + max|x| 2^-8, max over those that share the scale:
//           half the widest step, and what clamps by a scale that was rounded down. Scales that are
//           subnormal in their type have no relative bound: |x - x'| <= max|x|. A magnitude within
//           0.4 % of the largest f32 may decode to infinity.
// Exactness reference and SIMD agree bit for bit on every target.
//           Decoded values, as f32 and while scales are normal, encode to the same bytes again.

#include "kernels/minifloat.hpp"
#include "kernels/registry.hpp"

namespace viva::kernels::fp8 {

inline constexpr std::size_t block_side = 128;

/// The scale of values whose largest magnitude is `amax`.
VIVA_HD constexpr float scale_of(float amax, dtype source) noexcept {
  const float scale = rounded_to(amax / e4m3_max, source);
  return scale > 0              ? scale
         : source == dtype::f32 ? 0x1p-23f
         : source == dtype::f16 ? 0x1p-10f
                                : 0x1p-7f;
}

/// Where the scale of a value lies: every `rows` rows and `cols` columns share one, `across` of
/// them side by side.
struct scale_grid {
  dtype type; ///< Of the scales.
  std::size_t rows, cols, across;

  constexpr std::size_t index(std::size_t row, std::size_t col) const noexcept {
    return row / rows * across + col / cols;
  }
};

geometry row_shape(const recipe&, std::uint64_t cols);
encode_fn row_encode_reference, row_encode_simd;
decode_fn row_decode_reference, row_decode_simd;

geometry tensor_shape(const recipe&, std::uint64_t cols);
tensor_numbers tensor_survey_finish(const recipe&, const survey&);
encode_fn tensor_encode_reference, tensor_encode_simd;
decode_fn tensor_decode_reference, tensor_decode_simd;

geometry block_shape(const recipe&, std::uint64_t cols);
encode_fn block_encode_reference, block_encode_simd;
decode_fn block_decode_reference, block_decode_simd;

} // namespace viva::kernels::fp8
