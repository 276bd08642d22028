#pragma once

// Metrics: how far a decoded tensor is from its source.
//
// `error_sums` is what a shard measures; it merges exactly (integers, maxima and `exact_sum`), so
// neither the cut into shards nor the order of merging changes a bit. `finish` turns the merged
// sums into the numbers of the report. Both SIMD and reference fill equal sums, row by row; each
// row's five totals enter the exact sums.

#include "kernels/dtype.hpp"
#include "kernels/exact_sum.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace viva::kernels {

/// Log-linear histogram of magnitudes: 32 buckets per octave, so a quantile is within 1.6 %.
struct magnitude_histogram {
  static constexpr int bucket_shift = 23 - 5; ///< Of the 23 mantissa bits, five stay.
  static constexpr std::size_t bucket_count = std::size_t{1} << (31 - bucket_shift);

  /// Bucket 0 holds zero and what is nearly so; its middle counts as zero.
  static constexpr std::size_t bucket_of(float x) noexcept {
    return (std::bit_cast<std::uint32_t>(x) & 0x7FFFFFFFu) >> bucket_shift;
  }

  std::vector<std::uint64_t> counts; ///< Empty, or `bucket_count` long.

  void merge(const magnitude_histogram& other);
  /// The q-quantile, 0 <= q <= 1: the middle of the bucket that holds it; 0 when empty.
  double quantile(double q) const noexcept;
  std::uint64_t above(double magnitude) const noexcept; ///< Counts in buckets wholly above.
};

struct error_sums {
  std::uint64_t count = 0;      ///< Pairs measured: all that are finite.
  std::uint64_t not_finite = 0; ///< Pairs with NaN or infinity on either side; in no sum below.
  exact_sum square_error;       ///< sum (x - x')^2, the difference rounded to f32 first
  exact_sum abs_error;          ///< sum |x - x'|
  exact_sum square_source;      ///< sum x^2
  exact_sum square_decoded;     ///< sum x'^2
  exact_sum product;            ///< sum x x'
  float max_error = 0;          ///< max |x - x'|
  magnitude_histogram errors;   ///< of |x - x'|

  void merge(const error_sums& other);
  /// Compact bytes for the journal; `decode` refuses anything it did not write.
  std::string encode() const;
  static bool decode(std::string_view bytes, error_sums& out);
};

/// Adds one run of rows to `sums`, by the rules of measure.hpp. y: f32 in the shape of x.
void measure_reference(const matrix& x, const float* y, error_sums& sums);
void measure_simd(const matrix& x, const float* y, error_sums& sums);

/// The report's numbers for one tensor.
struct metrics {
  std::uint64_t count = 0, not_finite = 0;
  double mse = 0, rmse = 0, mae = 0, max_error = 0;
  /// Percentiles of |x - x'|, from the histogram, which of rows of 1024 columns and more counts an
  /// eighth of the values (measure.hpp): of 2.6e5 values p99.9 is within a fifth.
  double p50 = 0, p90 = 0;
  double p99 = 0, p999 = 0;   ///< p999: the 99.9th.
  double cosine = 1;          ///< 1 when both sides are all zero.
  double snr_db = 0;          ///< 10 log10(sum x^2 / sum e^2); infinite without error.
  double rel_rms = 0;         ///< ||x - x'|| / ||x||; 0 without error.
  std::uint64_t outliers = 0; ///< Values with |x - x'| above 4 rmse, by whole histogram buckets.
};

metrics finish(const error_sums& sums);

/// All of them for one tensor in memory.
metrics compute_all(const matrix& x, const float* y);

} // namespace viva::kernels
