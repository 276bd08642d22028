#pragma once

// Surveys on a device: largest magnitudes, and nf4-dq's sum of block maxima in limbs.

#include "kernels/device_measure_rows.hpp"

namespace viva::kernels {

/// A survey in memory of a device, all zero before.
struct device_survey {
  unsigned long long limbs[exact_sum::limb_count] = {};
  unsigned max_bits = 0; ///< Of the largest magnitude.
};

/// Unit: a run of values.
template <dtype Type>
struct survey_runs {
  static constexpr bool within_warp = false;
  typed_values<Type> in;
  run_cut cut;
  float* maxima; ///< One for each run, or null.
  device_survey* found_in_all;
  device_report* report;

  template <class Team>
  VIVA_HD void operator()(const Team& team, std::size_t unit) const {
    const std::size_t first = cut.first(unit), count = cut.count(unit);
    const auto most = team.fold(
        [&](unsigned lane) {
          auto found = by_magnitude::key{0};
          for (std::size_t at = 4 * std::size_t{lane}; at < count; at += 4 * team.lanes()) {
            float x[4];
            in.some(first + at, count - at < 4 ? count - at : 4, x);
            found = larger{}(found, by_magnitude::look(x, at, 4));
          }
          return found;
        },
        larger{});
    team.once([&] {
      raise_to(&found_in_all->max_bits, most);
      if (maxima != nullptr)
        maxima[unit] = float_of(most);
    });
    if (!by_magnitude::finite(most))
      team.each([&](unsigned lane) {
        for (std::size_t i = lane; i < count; i += team.lanes())
          if (!is_finite(in.one(first + i)))
            lower_to(&report->not_finite, first + i);
      });
  }
};

/// Unit: 64 maxima for each lane; their sum to limbs.
struct sum_maxima {
  static constexpr bool within_warp = false;
  const float* maxima;
  std::size_t count;
  device_survey* found;

  static constexpr std::size_t each = 64;

  template <class Team>
  VIVA_HD void operator()(const Team& team, std::size_t unit) const {
    typename Team::template own<lane_limbs> mine;
    team.each([&](unsigned lane) {
      for (std::size_t k = 0; k < each; ++k)
        if (const std::size_t i = (unit * each + k) * team.lanes() + lane; i < count)
          mine[lane].add(maxima[i]);
    });
    for (int i = 0; i < exact_sum::limb_count; ++i) {
      const auto total = team.fold([&](unsigned lane) { return mine[lane].limbs[i]; },
                                   [](long long a, long long b) { return a + b; });
      team.once([&] {
        if (total != 0)
          add_to(&found->limbs[i], static_cast<unsigned long long>(total));
      });
    }
  }
};

} // namespace viva::kernels
