#pragma once

// A tensor in the caller's memory, and the words for methods. Nothing is copied: whoever takes a
// view reads the caller's bytes later, so each function says until when they must stay.

#include "kernels/dtype.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace viva {

using kernels::dtype;

/// Rows of values, row-major. A tensor of more than two dimensions is its last one as columns and
/// all others as rows; one dimension is one row.
struct tensor_view {
  const std::byte* data = nullptr; ///< May be unaligned.
  std::uint64_t rows = 0, cols = 0;
  std::uint64_t row_bytes = 0; ///< From one row to the next; 0: rows follow each other.
  dtype type = dtype::f32;

  /// Bytes from one row to the next.
  constexpr std::uint64_t step() const noexcept {
    return row_bytes != 0 ? row_bytes : cols * kernels::bytes_of(type);
  }
  constexpr bool dense() const noexcept {
    return row_bytes == 0 || row_bytes == cols * kernels::bytes_of(type);
  }
  constexpr std::uint64_t values() const noexcept {
    return rows * cols;
  }
};

/// One row of f32 values.
inline tensor_view view_of(std::span<const float> values) noexcept {
  return {reinterpret_cast<const std::byte*>(values.data()), 1, values.size(), 0, dtype::f32};
}
/// Any shape; `shape` is outermost first. `bytes` must hold as many values as the shape has, which
/// is checked where the view is used: a view of too few bytes has no data.
inline tensor_view view_of(std::span<const std::byte> bytes, std::span<const std::uint64_t> shape,
                           dtype type) noexcept {
  tensor_view view{bytes.data(), 1, shape.empty() ? 1 : shape.back(), 0, type};
  for (std::size_t i = 0; i + 1 < shape.size(); ++i)
    view.rows *= shape[i];
  if (bytes.size() / kernels::bytes_of(type) < view.values())
    view.data = nullptr;
  return view;
}

/// A method with its options, as `viva quantize -m` takes it: "nf4:block=128".
struct method_words {
  std::string text;
  method_words(std::string_view words) : text(words) {
  }
  method_words(std::string words) : text(std::move(words)) {
  }
  method_words(const char* words) : text(words) {
  }
};

// The usual ones by name; every row of the registry can be had by its words.
struct int8 : method_words {
  int8() : method_words("int8") {
  }
};
struct nf4 : method_words {
  nf4() : method_words("nf4") {
  }
};
struct q8_0 : method_words {
  q8_0() : method_words("q8_0") {
  }
};
struct fp8 : method_words {
  fp8() : method_words("fp8") {
  }
};
struct nvfp4 : method_words {
  nvfp4() : method_words("nvfp4") {
  }
};
/// 2:4 pruning: kept values and a bitmask.
struct sparse24 : method_words {
  sparse24() : method_words("sparse24") {
  }
};

} // namespace viva
