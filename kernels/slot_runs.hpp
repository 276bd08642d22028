#pragma once

// Slot runs: the rows of a tensor through two slots in turn, so that one copies while the other
// computes. Knows no device, so tests run it with slots of their own.

#include "kernels/error.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

namespace viva::kernels {

/// Rows that are under way together.
struct row_run {
  std::size_t first = 0, count = 0;
};

/// Runs of at most `step` rows, whole grains but for the last.
///
///   put(slot, run)      queues it; `over_budget` where memory is short: then slots are emptied,
///                       and runs are half as long from there on, down to `grain`
///   collect(slot, run)  waits for what was put, and takes it; in the order of rows, so the first
///                       refusal is that of the first rows
///   settle(slot)        after a put that failed: waits, gives the memory of both slots back,
///                       and says what was wrong besides, which counts for more than put
template <class Put, class Collect, class Settle>
status in_two_slots(std::size_t rows, std::size_t step, std::size_t grain, const Put& put,
                    const Collect& collect, const Settle& settle) {
  std::array<row_run, 2> runs;
  std::array<bool, 2> under_way{};
  const auto take_back = [&](std::size_t slot) -> status {
    return std::exchange(under_way[slot], false) ? collect(slot, runs[slot]) : status{};
  };
  std::size_t next = 0;
  status done;
  for (std::size_t first = 0; first < rows && done; next ^= 1) {
    done = take_back(next);
    if (!done)
      break;
    runs[next] = {first, std::min(step, rows - first)};
    const status queued = put(next, runs[next]);
    if (queued) {
      under_way[next] = true;
      first += runs[next].count;
      continue;
    }
    done = take_back(next ^ 1);
    const status besides = settle(next);
    if (done && !besides)
      done = besides;
    else if (done && (queued.code != errc::over_budget || step <= grain))
      done = queued;
    step = std::max(grain, step / 2 / grain * grain);
  }
  for (int i = 0; i < 2; ++i, next ^= 1) { // the older one first
    const status last = take_back(next);
    done = done ? last : done;
  }
  return done;
}

} // namespace viva::kernels
