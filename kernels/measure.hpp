#pragma once

// One row's error sums on the way into `error_sums`: 16 virtual lanes (column index mod 16) in f64.
// Shared by the reference, by SIMD and by methods that measure while they encode.

#include "kernels/metrics.hpp"

#include <array>
#include <cstddef>

namespace viva::kernels {

inline constexpr std::size_t measure_lanes = 16;

struct row_sums {
  using lane_array = std::array<double, measure_lanes>;
  lane_array square_error{}, abs_error{}, square_source{}, square_decoded{}, product{};
};

/// Adds columns [column, column + count) of one row, one value at a time; `x` and `y` point at the
/// first of them. The truth: where x or y is not finite, the pair is only counted. A difference
/// beyond f32 counts as the largest f32.
void measure_values(const float* x, const float* y, std::size_t column, std::size_t count,
                    row_sums& row, error_sums& sums);

/// Adds the lanes, 0 to 15, of a finished row to `sums`.
void measure_close(const row_sums& row, error_sums& sums);

/// The histogram's counts, made on first use; `bucket_count` long.
std::uint64_t* measure_buckets(error_sums& sums);

} // namespace viva::kernels
