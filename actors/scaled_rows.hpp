#pragma once

// Rows whose columns are multiplied and which are divided themselves before they are encoded, and
// the same undone after decoding. Lanes call these; nothing is kept but scratch of a thread.

#include "actors/scale_search.hpp"
#include "kernels/metrics.hpp"

#include <span>

namespace viva::actors {

/// A run of rows of a weight: `values` in place, shape (rows, cols); row 0 is row `first` of the
/// weight. What is null scales nothing.
struct scaled_run {
  std::uint64_t first = 0, rows = 0, cols = 0;
  const std::vector<float>* columns_by = nullptr; ///< `cols` numbers.
  const std::vector<float>* rows_by = nullptr;    ///< One for each row of the weight.
};

/// values[n][k] · columns_by[k] / rows_by[n].
void scale_run(const scaled_run&, float* values) noexcept;
/// values[n][k] / columns_by[k] · rows_by[n].
void unscale_run(const scaled_run&, float* values) noexcept;

/// As `kernels::encode_and_measure`, of rows [first, first + in.rows) scaled so. Errors are those
/// of what is decoded and scaled back, against `in`. Channels of the recipe are those of the inputs
/// as they are, unscaled.
status encode_scaled(const kernels::recipe&, const kernels::matrix& in,
                              std::uint64_t first, const searched& by,
                              std::span<std::byte* const> out, kernels::error_sums&);

} // namespace viva::actors
