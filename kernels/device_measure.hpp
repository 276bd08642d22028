#pragma once

// Errors of decoded rows on a device, by the rules of measure.hpp: the same bits as the host's.
//
// A team of 16 lanes sums a piece of 512 columns, lane by lane in the order of its columns; a
// second kernel adds a row's pieces in their order, and values one by one of pieces that f32 cannot
// take. A row's five totals enter limbs of exact sums, integers that may be added in any order.

#include "kernels/device_runs.hpp"
#include "kernels/exact_addend.hpp"
#include "kernels/measure.hpp"

namespace viva::kernels {

inline constexpr int measured_sums = 5;

/// error_sums in memory of a device, all zero before.
struct device_sums {
  unsigned long long limbs[measured_sums][exact_sum::limb_count] = {};
  unsigned long long count = 0, not_finite = 0;
  unsigned max_bits = 0; ///< Of the largest error.
  unsigned long long buckets[magnitude_histogram::bucket_count] = {};
};

/// A piece as its team leaves it.
struct measured_piece {
  piece_sums sums;
  bool in_range = false;
};

/// Unit: a piece of a row.
template <dtype Type>
struct measure_pieces {
  typed_values<Type> x;
  const float* y;
  std::size_t cols;
  measured_piece* pieces;
  device_sums* sums;

  static constexpr bool within_warp = true; ///< Never a team of more than 32 lanes.
  struct lane_sums {
    float square_error = 0, abs_error = 0, square_source = 0, square_decoded = 0, max_error = 0;

    VIVA_HD lane_sums joined(const lane_sums& other) const noexcept {
      return {square_error + other.square_error, abs_error + other.abs_error,
              square_source + other.square_source, square_decoded + other.square_decoded,
              max_error < other.max_error ? other.max_error : max_error};
    }
  };

  VIVA_HD static std::size_t in_row(std::size_t cols) noexcept {
    return (cols + measure_piece - 1) / measure_piece;
  }

  template <class Team>
  VIVA_HD void operator()(const Team& team, std::size_t unit) const {
    const std::size_t row = unit / in_row(cols), column = unit % in_row(cols) * measure_piece;
    const std::size_t first = row * cols + column;
    const auto count =
        static_cast<unsigned>(cols - column < measure_piece ? cols - column : measure_piece);
    measured_piece* out = pieces + unit;
    typename Team::template own<lane_sums> mine;
    team.each([&](unsigned lane) {
      lane_sums all;
      for (unsigned i = lane; i < count; i += measure_lanes)
        add(all, x.one(first + i), y[first + i]);
      mine[lane] = all;
    });
    // Lanes 8 apart and lanes 4 apart are added, which leaves four.
    const auto folded = team.template fold_to<4>(
        [&](unsigned lane) { return mine[lane]; },
        [](const lane_sums& a, const lane_sums& b) { return a.joined(b); });
    piece_sums piece;
    for (unsigned i = 0; i < 4; ++i) {
      piece.square_error[i] = folded.each[i].square_error;
      piece.abs_error[i] = folded.each[i].abs_error;
      piece.square_source[i] = folded.each[i].square_source;
      piece.square_decoded[i] = folded.each[i].square_decoded;
      piece.max_error =
          piece.max_error < folded.each[i].max_error ? folded.each[i].max_error : piece.max_error;
    }
    const bool in_range = piece.in_range();
    team.once([&] {
      out->sums = piece;
      out->in_range = in_range;
    });
    if (in_range)
      count_errors(team, row, column, count, piece);
  }

private:
  VIVA_HD static void add(lane_sums& to, float source, float decoded) noexcept {
    const float e = source - decoded;
    to.square_error += e * e;
    to.abs_error += magnitude(e);
    to.square_source += source * source;
    to.square_decoded += decoded * decoded;
    to.max_error = to.max_error < magnitude(e) ? magnitude(e) : to.max_error;
  }

  template <class Team>
  VIVA_HD void count_errors(const Team& team, std::size_t row, std::size_t column, unsigned count,
                            const piece_sums& piece) const {
    const auto choice =
        choose_groups(cols, column, count, bits_of(x.one(row * cols)), piece.even());
    team.once([&] {
      add_to(&sums->count, count);
      raise_to(&sums->max_bits, bits_of(piece.max_error));
    });
    const std::size_t first = row * cols + column;
    team.each([&](unsigned lane) {
      for (std::size_t g = choice.first; g * measure_lanes < count; g += choice.step)
        if (const std::size_t i = g * measure_lanes + lane; i < count) {
          const float e = x.one(first + i) - y[first + i];
          add_to(&sums->buckets[magnitude_histogram::bucket_of(e)], choice.weight);
        }
    });
  }
};

} // namespace viva::kernels
