#pragma once

// What ranges of keys give, side by side until they are merged in their order. With one range it is
// the result itself.

#include "actors/pipeline/attended.hpp"
#include "actors/pipeline/shard_steps.hpp"
#include "actors/pipeline/shared_bytes.hpp"

namespace viva::actors {

class attention_parts {
public:
  attention_parts(const kernels::attention::shape& of, kernels::dtype type, std::uint32_t ranges);

  /// Of the result and of the parts; `shared`: with a region, where the result has a second place
  /// if it is the only part.
  std::uint64_t bytes(bool shared) const noexcept;
  /// With `shares` in a region that lane processes can write. Errors: over_budget.
  expected<void> allocate(shared_table* shares);
  const std::shared_ptr<shared_region>& region() const noexcept {
    return x_region;
  }
  /// Range `range` as a process writes it: `to`, `out`, `lse` and `type` of the step.
  void address(std::size_t range, attend_step& step) noexcept;
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
  /// What attention to no keys gives, in the only range there then is: rows of 0, sums of -inf.
  void see_nothing();
  /// The result; the parts go.
  attended take();
  /// All of it goes.
  void clear() noexcept;

  static std::size_t rows_of(const kernels::attention::shape& of) noexcept {
    return of.batch * of.heads * of.queries;
  }
  /// Bytes of the f32 rows and log-sum-exps of one range.
  static std::size_t range_bytes(const kernels::attention::shape& of) noexcept {
    return rows_of(of) * (of.head_size + 1) * sizeof(float);
  }

private:
  std::size_t row_bytes() const noexcept;
  /// Where the log-sum-exps begin in a region, behind the rows.
  std::size_t lse_from() const noexcept;

  const kernels::attention::shape x_of;
  const std::uint32_t x_ranges;
  const std::size_t x_rows;
  /// (ranges, rows, head_size) and (ranges, rows), where there are several ranges and no region.
  std::vector<float> x_out, x_lse;
  std::shared_ptr<shared_region> x_region; ///< The same for any number of ranges.
  std::byte* x_out_at = nullptr;
  float* x_lse_at = nullptr;
  attended x_result;
};

} // namespace viva::actors
