#pragma once

// What a repeated measurement comes to: median and median absolute deviation, which one slow
// repetition cannot move.

#include <algorithm>
#include <cmath>
#include <vector>

namespace viva::bench {

/// The middle of `all`, or the mean of the two middles; 0 when empty.
inline double median(std::vector<double> all) {
  if (all.empty())
    return 0;
  std::ranges::sort(all);
  const auto middle = all.size() / 2;
  return all.size() % 2 != 0 ? all[middle] : (all[middle - 1] + all[middle]) / 2;
}

/// The median distance from the median.
inline double median_deviation(std::vector<double> all) {
  const double middle = median(all);
  for (auto& x : all)
    x = std::fabs(x - middle);
  return median(std::move(all));
}

} // namespace viva::bench
