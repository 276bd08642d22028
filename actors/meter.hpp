#pragma once

// Meters: what a lane has done, as relaxed atomics that the collector reads when it likes. A lane
// never waits for the collector and the collector never waits for a lane. A meter outlives its
// lane, so a restart loses no count; a collector that is restarted finds every meter on the board
// again.

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace viva::actors {

/// Log-linear counts of microseconds, 8 buckets an octave: a quantile is off by at most 6 %.
class latency_histogram {
public:
  static constexpr std::size_t bucket_count = 8 * 40;

  /// `times`: so many had this latency.
  void add(std::chrono::nanoseconds time, std::uint64_t times = 1) noexcept {
    const auto us = static_cast<std::uint64_t>(time.count() / 1000);
    x_counts[index(us)].fetch_add(times, std::memory_order_relaxed);
  }
  using counts = std::array<std::uint64_t, bucket_count>;
  void merge_into(counts& out) const noexcept {
    for (std::size_t i = 0; i < bucket_count; ++i)
      out[i] += x_counts[i].load(std::memory_order_relaxed);
  }
  /// Milliseconds of the q-quantile; 0 without entries.
  static double quantile_ms(const counts& all, double q) noexcept;

private:
  static std::size_t index(std::uint64_t us) noexcept {
    if (us < 8)
      return us;
    const auto octave = static_cast<std::size_t>(std::bit_width(us)) - 3; // >= 1
    return std::min(8 * octave + (us >> (octave - 1) & 7), bucket_count - 1);
  }
  std::array<std::atomic<std::uint64_t>, bucket_count> x_counts{};
};

/// One life of one lane.
struct lane_meter {
  std::string lane;
  std::atomic<std::uint64_t> shards{0}, bytes{0}, busy_ns{0};
  std::atomic<std::uint64_t> peak_rss{0}; ///< Bytes, where the lane is a process of its own.
  latency_histogram tickets;
};

/// Where lanes hang their meters. Locked only when a lane starts and when somebody reads.
class meter_board {
public:
  std::shared_ptr<lane_meter> hang(std::string lane) {
    auto meter = std::make_shared<lane_meter>();
    meter->lane = std::move(lane);
    const std::lock_guard lock{x_guard};
    x_meters.push_back(meter);
    return meter;
  }
  std::vector<std::shared_ptr<const lane_meter>> all() const {
    const std::lock_guard lock{x_guard};
    return {x_meters.begin(), x_meters.end()};
  }

private:
  mutable std::mutex x_guard;
  std::vector<std::shared_ptr<lane_meter>> x_meters;
};

} // namespace viva::actors
