#pragma once

// What the references of GGUF's block formats share: the walk over blocks of a row, and the two
// numbers a block's scale is made from. A format adds what one block is, slow and obvious.

#include "kernels/ggml_scale.hpp"
#include "kernels/registry.hpp"
#include "kernels/scalar.hpp"

#include <limits>

namespace viva::kernels {

inline constexpr std::uint32_t ggml_block_values = 32;

/// The smallest and the largest of a block's values; the first of equals, so the sign of a zero is
/// the first one's.
struct ggml_range {
  float min = std::numeric_limits<float>::max();
  float max = std::numeric_limits<float>::lowest();
};

VIVA_HD inline ggml_range ggml_range_of(const float* x) noexcept {
  ggml_range range;
  for (std::size_t j = 0; j < ggml_block_values; ++j) {
    range.min = x[j] < range.min ? x[j] : range.min;
    range.max = x[j] > range.max ? x[j] : range.max;
  }
  return range;
}

inline ggml_range ggml_range_of(const matrix& in, std::size_t first) noexcept {
  float x[ggml_block_values];
  for (std::size_t j = 0; j < ggml_block_values; ++j)
    x[j] = value_of(in, first + j);
  return ggml_range_of(x);
}

/// Nibble j of a block's 16 bytes: value j lies in byte j below, value j + 16 above.
VIVA_HD inline int ggml_nibble(const std::byte* bytes, std::size_t j) noexcept {
  const auto byte = static_cast<int>(bytes[j % (ggml_block_values / 2)]);
  return j < ggml_block_values / 2 ? byte & 15 : byte >> 4;
}

/// x - min, where it may overflow: then 1 / d is 0 and every code is too.
VIVA_HD constexpr float ggml_above(float x, float min) noexcept {
  const float above = x - min;
  return above > std::numeric_limits<float>::max() ? std::numeric_limits<float>::max() : above;
}

/// Encodes block by block: encode_block(x, block) for its 32 values.
template <class Encode>
status ggml_encode_reference(const matrix& in, std::byte* out, std::size_t block_bytes,
                             Encode&& encode_block) noexcept {
  if (in.cols % ggml_block_values != 0)
    return {errc::bad_shape};
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  for (std::size_t first = 0; first < in.values(); first += ggml_block_values, out += block_bytes) {
    float x[ggml_block_values];
    for (std::size_t j = 0; j < ggml_block_values; ++j)
      x[j] = value_of(in, first + j);
    encode_block(x, out);
  }
  return {};
}

/// Decodes block by block, decode_value(block, j), where is_whole(block): its scales are numbers.
template <class Whole, class Decode>
status ggml_decode_reference(const std::byte* in, std::size_t rows, std::size_t cols, float* out,
                             std::size_t block_bytes, Whole&& is_whole,
                             Decode&& decode_value) noexcept {
  if (cols % ggml_block_values != 0)
    return {errc::bad_shape};
  for (std::size_t first = 0; first < rows * cols; first += ggml_block_values, in += block_bytes) {
    if (!is_whole(in))
      return {errc::malformed};
    for (std::size_t j = 0; j < ggml_block_values; ++j)
      out[first + j] = decode_value(in, j);
  }
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
