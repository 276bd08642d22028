#pragma once

// Patience: how long a lane may show no progress with an order.

#include "actors/pipeline/tensor_frames.hpp"

#include <chrono>

namespace viva::actors {

/// A tensor tells no progress before its end, and the slowest method does more than a million
/// values a second; `least` is for whatever else may take time.
inline std::chrono::milliseconds patience_with(const tensor_order& order,
                                               std::chrono::milliseconds least) {
  std::uint64_t values = 0;
  for (const auto& run : order.runs)
    values += run.rows * run.cols * run.count;
  for (const auto& step : order.steps)
    values += step.count * step.cols;
  for (const auto& step : order.attends) // a score takes about as long as a value
    values += step.of.batch * step.of.heads * step.of.queries * step.of.keys;
  return least + std::chrono::milliseconds{values / 1000};
}

} // namespace viva::actors
