#pragma once

// What ranges of keys give, side by side until they are merged in their order. With one range it is
// the result itself.

#include "actors/pipeline/attended.hpp"

namespace viva::actors {

class attention_parts {
public:
  attention_parts(const kernels::attention::shape& of, kernels::dtype type, std::uint32_t ranges);

  /// Of the result and of the parts.
  std::uint64_t bytes() const noexcept;
  void allocate();
  /// Where range `range` writes its rows.
  kernels::attention::outputs range(std::size_t range) noexcept;
  std::uint32_t ranges() const noexcept {
    return x_ranges;
  }
  std::size_t rows() const noexcept {
    return x_rows;
  }
  /// Merges the rows of share `share` of `shares`.
  void merge(std::size_t share, std::size_t shares);
  /// The result; the parts go.
  attended take();

  static std::size_t rows_of(const kernels::attention::shape& of) noexcept {
    return of.batch * of.heads * of.queries;
  }
  /// Bytes of the f32 rows and log-sum-exps of one range.
  static std::size_t range_bytes(const kernels::attention::shape& of) noexcept {
    return rows_of(of) * (of.head_size + 1) * sizeof(float);
  }

private:
  std::size_t row_bytes() const noexcept;

  const kernels::attention::shape x_of;
  const std::uint32_t x_ranges;
  const std::size_t x_rows;
  /// (ranges, rows, head_size) and (ranges, rows), where there are several ranges.
  std::vector<float> x_out, x_lse;
  attended x_result;
};

} // namespace viva::actors
