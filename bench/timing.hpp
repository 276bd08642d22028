#pragma once

// Timing: samples and what is told of them.

#include "bench/supervision_bench.hpp"

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace viva::bench {

using clock = std::chrono::steady_clock;
using samples = std::vector<double>; ///< Microseconds, or per second.

inline double us_since(clock::time_point began) {
  return std::chrono::duration<double, std::micro>(clock::now() - began).count();
}

inline double quantile(samples all, double q) {
  const auto at =
      all.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(all.size() - 1));
  std::ranges::nth_element(all, at);
  return *at;
}

inline measurement latency(std::string metric, const samples& all) {
  return {.metric = std::move(metric),
          .median_us = quantile(all, 0.5),
          .p99_us = quantile(all, 0.99),
          .samples = all.size()};
}

inline measurement rate(std::string metric, const samples& per_s) {
  return {.metric = std::move(metric), .per_s = quantile(per_s, 0.5), .samples = per_s.size()};
}

/// Which measurements are asked for, and who is told.
struct metric_run {
  std::function<bool(std::string_view)> wanted;
  std::function<void(const measurement&)> tell;
};

} // namespace viva::bench
