#pragma once

// What the references of GGUF's block formats share: the walk over blocks of a row, and the two
// numbers a block's scale is made from. A format adds what one block is, slow and obvious.

#include "kernels/ggml_scale.hpp"
#include "kernels/registry.hpp"
#include "kernels/scalar.hpp"

#include <limits>

namespace viva::kernels {

inline constexpr std::uint32_t ggml_block_values = 32;

/// The value of largest magnitude among a block's; the first of equals.
inline float ggml_extreme(const matrix& in, std::size_t first) noexcept {
  float extreme = 0;
  for (std::size_t j = 0; j < ggml_block_values; ++j) {
    const float x = value_of(in, first + j);
    extreme = magnitude(x) > magnitude(extreme) ? x : extreme;
  }
  return extreme;
}

/// The smallest and the largest of a block's values; the first of equals, so the sign of a zero is
/// the first one's.
struct ggml_range {
  float min = std::numeric_limits<float>::max();
  float max = std::numeric_limits<float>::lowest();
};

inline ggml_range ggml_range_of(const matrix& in, std::size_t first) noexcept {
  ggml_range range;
  for (std::size_t j = 0; j < ggml_block_values; ++j) {
    const float x = value_of(in, first + j);
    range.min = x < range.min ? x : range.min;
    range.max = x > range.max ? x : range.max;
  }
  return range;
}

/// x - min, where it may overflow: then 1 / d is 0 and every code is too.
VIVA_HD constexpr float ggml_above(float x, float min) noexcept {
  const float above = x - min;
  return above > std::numeric_limits<float>::max() ? std::numeric_limits<float>::max() : above;
}

/// Encodes block by block: encode_block(first, block) for the values from flat index `first` on.
template <class Encode>
status ggml_encode_reference(const matrix& in, std::byte* out, std::size_t block_bytes,
                             Encode&& encode_block) noexcept {
  if (in.cols % ggml_block_values != 0)
    return {errc::bad_shape};
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  for (std::size_t first = 0; first < in.values(); first += ggml_block_values, out += block_bytes)
    encode_block(first, out);
  return {};
}

/// Decodes block by block: decode_block(block, out) is false where a scale is no number.
template <class Decode>
status ggml_decode_reference(const std::byte* in, std::size_t rows, std::size_t cols, float* out,
                             std::size_t block_bytes, Decode&& decode_block) noexcept {
  if (cols % ggml_block_values != 0)
    return {errc::bad_shape};
  for (std::size_t first = 0; first < rows * cols; first += ggml_block_values, in += block_bytes)
    if (!decode_block(in, out + first))
      return {errc::malformed};
  return {};
}

/// The SIMD paths, behind the same check of the shape.
inline status ggml_encode_simd(const matrix& in, std::byte* out,
                               status (*encode)(const matrix&, std::byte*)) noexcept {
  return in.cols % ggml_block_values == 0 ? encode(in, out) : status{errc::bad_shape};
}

inline status ggml_decode_simd(const std::byte* in, std::size_t rows, std::size_t cols, float* out,
                               status (*decode)(const std::byte*, std::size_t, float*)) noexcept {
  return cols % ggml_block_values == 0 ? decode(in, rows * cols / ggml_block_values, out)
                                       : status{errc::bad_shape};
}

} // namespace viva::kernels
