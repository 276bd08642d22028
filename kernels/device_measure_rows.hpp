#pragma once

// The second half of device_measure.hpp: rows to limbs of exact sums.

#include "kernels/device_measure.hpp"

namespace viva::kernels {

/// Limbs of one exact sum that one lane keeps.
struct lane_limbs {
  long long limbs[exact_sum::limb_count] = {};

  VIVA_HD void add(double x) noexcept {
    const auto addend = exact_addend_of(x);
    for (int i = 0; i < 3; ++i)
      limbs[addend.limb + i] += addend.parts[i];
  }
};

/// Unit: `rows_each` rows for each lane of the team, whose sums meet once. A launch has below 2^30
/// rows, so no limb overflows before a host carries.
template <dtype Type>
struct measure_rows_of {
  typed_values<Type> x;
  const float* y;
  std::size_t rows, cols;
  const measured_piece* pieces;
  device_sums* sums;

  static constexpr bool within_warp = true; ///< Never a team of more than 32 lanes.
  static constexpr std::size_t rows_each = 4;
  struct kept {
    lane_limbs of[measured_sums];
  };

  template <class Team>
  VIVA_HD void operator()(const Team& team, std::size_t unit) const {
    typename Team::template own<kept> mine;
    team.each([&](unsigned lane) {
      for (std::size_t k = 0; k < rows_each; ++k) {
        const std::size_t row = (unit * rows_each + k) * team.lanes() + lane;
        if (row < rows)
          add_row(row, mine[lane]);
      }
    });
    for (int s = 0; s < measured_sums; ++s)
      for (int i = 0; i < exact_sum::limb_count; ++i) {
        const auto total = team.fold([&](unsigned lane) { return mine[lane].of[s].limbs[i]; },
                                     [](long long a, long long b) { return a + b; });
        team.once([&] {
          if (total != 0)
            add_to(&sums->limbs[s][i], static_cast<unsigned long long>(total));
        });
      }
  }

private:
  VIVA_HD void add_row(std::size_t row, kept& to) const {
    const std::size_t in_row = measure_pieces<Type>::in_row(cols);
    row_sums all;
    for (std::size_t p = 0; p < in_row; ++p) {
      const measured_piece& piece = pieces[row * in_row + p];
      if (piece.in_range)
        piece.sums.add_to(all);
      else
        add_values(row, p * measure_piece, all);
    }
    to.of[0].add(row_total(all.square_error));
    to.of[1].add(row_total(all.abs_error));
    to.of[2].add(row_total(all.square_source));
    to.of[3].add(row_total(all.square_decoded));
    to.of[4].add(row_total(all.product));
  }

  VIVA_HD void add_values(std::size_t row, std::size_t column, row_sums& all) const {
    for (std::size_t c = column; c < cols && c < column + measure_piece; ++c) {
      float e = 0;
      if (!measure_value(x.one(row * cols + c), y[row * cols + c], c, all, e)) {
        add_to(&sums->not_finite, 1);
        continue;
      }
      add_to(&sums->count, 1);
      add_to(&sums->buckets[magnitude_histogram::bucket_of(e)], 1);
      raise_to(&sums->max_bits, magnitude_bits(e));
    }
  }
};

} // namespace viva::kernels
