#pragma once

// How a row's errors enter `error_sums`; the rules that the reference and SIMD share.
//
// Pieces    A row is cut into pieces of 512 columns; the last may be shorter.
// Sums      Within a piece, 16 lanes (column mod 16) add in f32, each term a rounded product: at
//           most 32 terms, so a lane is off by less than 2e-6 of the sum of its magnitudes. Lanes
//           8 apart, then lanes 4 apart, are added in f32; the four that stay enter the row's four
//           lanes in f64, and with them (sum x^2 + sum x'^2 - sum e^2) / 2, which is sum x x'. So
//           1 - cosine keeps the digits of sum e^2 where x' is near x.
// Range     Where a piece holds what is not finite, or squares that f32 cannot take, or sides so
//           unequal that the product would keep few digits (a factor of 2^12 between their
//           squares), all of the piece is added value by value in f64 instead (`measure_values`).
// Histogram Every value, but in rows of 1024 columns and more only one group of 16 columns in eight
//           of a whole piece, with weight eight. Which one turns with the row's first value and the
//           piece. A piece with an error above six times its own rms is counted whole, so rare
//           large errors are never left to chance.

#include "kernels/convert.hpp"
#include "kernels/metrics.hpp"

#include <array>
#include <cstddef>
#include <limits>

namespace viva::kernels {

inline constexpr std::size_t measure_lanes = 16;
inline constexpr std::size_t measure_piece = 512;
inline constexpr std::size_t measure_sampled_cols = 1024; ///< Rows as long as this are sampled.
inline constexpr std::size_t measure_sampling = 8;        ///< One group of so many.

struct row_sums {
  using lane_array = std::array<double, 4>;
  lane_array square_error{}, abs_error{}, square_source{}, square_decoded{}, product{};
};

/// One piece's f32 lanes, folded to four.
struct piece_sums {
  using lane_array = std::array<float, 4>;
  lane_array square_error{}, abs_error{}, square_source{}, square_decoded{};
  float max_error = 0;

  static constexpr float total(const lane_array& lanes) noexcept {
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
  }

  /// True where f32 could take all of it.
  VIVA_HD bool in_range() const noexcept {
    constexpr float smallest = 0x1p-100f; // below, squares lose bits or vanish
    const auto fits = [](float sum) { return sum >= smallest && is_finite(sum); };
    const float errors = total(square_error);
    const float source = total(square_source);
    const float decoded = total(square_decoded);
    return fits(source) && fits(decoded) && (fits(errors) || (errors == 0 && max_error == 0))
           && decoded >= source * 0x1p-12f && source >= decoded * 0x1p-12f;
  }

  /// True where no error stands far above the others of a whole piece.
  VIVA_HD bool even() const noexcept {
    constexpr float factor = 36.0f / measure_piece; // six times the rms, squared
    return max_error * max_error <= factor * total(square_error);
  }

  VIVA_HD void add_to(row_sums& row) const noexcept {
    for (std::size_t i = 0; i < 4; ++i) {
      const double error = square_error[i];
      const double source = square_source[i];
      const double decoded = square_decoded[i];
      row.square_error[i] += error;
      row.abs_error[i] += double{abs_error[i]};
      row.square_source[i] += source;
      row.square_decoded[i] += decoded;
      row.product[i] += (source + decoded - error) * 0.5;
    }
  }
};

/// Which groups of a piece the histogram counts: `first`, `first + step`, …, with `weight`.
struct group_choice {
  std::size_t first = 0, step = 1, weight = 1;
};

/// `row_bits`: the bits of the row's first value as f32.
constexpr group_choice choose_groups(std::size_t cols, std::size_t column, std::size_t count,
                                     std::uint32_t row_bits, bool even) noexcept {
  if (cols < measure_sampled_cols || count != measure_piece || !even)
    return {};
  const std::size_t turn = (row_bits * 2654435761u >> 29) + column / measure_piece;
  return {turn % measure_sampling, measure_sampling, measure_sampling};
}

/// Adds one pair to a row, in f64; false where x or y is not finite. `error` is x - y, held within
/// f32.
VIVA_HD inline bool measure_value(float x, float y, std::size_t column, row_sums& row,
                                  float& error) noexcept {
  if (!is_finite(x) || !is_finite(y))
    return false;
  constexpr float largest = std::numeric_limits<float>::max();
  const float e = x - y;
  error = e < -largest ? -largest : e > largest ? largest : e;
  const std::size_t lane = column % 4;
  const double wide_x = x;
  const double wide_y = y;
  const double wide_e = error;
  row.square_error[lane] += wide_e * wide_e;
  row.abs_error[lane] += magnitude(error);
  row.square_source[lane] += wide_x * wide_x;
  row.square_decoded[lane] += wide_y * wide_y;
  row.product[lane] += wide_x * wide_y;
  return true;
}

/// A finished row's lanes, 0 to 3, as one.
VIVA_HD inline double row_total(const row_sums::lane_array& lanes) noexcept {
  double sum = 0;
  for (std::size_t lane = 0; lane < 4; ++lane)
    sum += lanes[lane];
  return sum;
}

/// Adds columns [column, column + count) of one row, one value at a time; `x` and `y` point at the
/// first of them. Where x or y is not finite, the pair is only counted. A difference beyond f32
/// counts as the largest f32.
void measure_values(const float* x, const float* y, std::size_t column, std::size_t count,
                    row_sums& row, error_sums& sums);

/// Adds the lanes, 0 to 3, of a finished row to `sums`.
void measure_close(const row_sums& row, error_sums& sums);

/// The histogram's counts, made on first use; `bucket_count` long.
std::uint64_t* measure_buckets(error_sums& sums);

} // namespace viva::kernels
