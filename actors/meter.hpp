#pragma once

// Meters: what lanes have done. Each lane adds up for itself, in memory that nobody else touches,
// and tells its totals now and then. Telling is lossy and never waits: the latest totals replace
// those that nobody has read yet, and those are counted as dropped.
//
// Totals are of all lives of a lane, so each says everything that those before it said: a dropped
// one loses nothing, and a collector that was restarted reads what was told last once more and
// counts nothing twice.

#include "actors/latency.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace viva::actors {

/// The same for several threads that add at a time, as streams do: relaxed atomics.
class shared_histogram {
public:
  void add(std::chrono::nanoseconds time, std::uint64_t times = 1) noexcept {
    x_counts[latency_histogram::index(time)].fetch_add(times, std::memory_order_relaxed);
    x_sum_ns.fetch_add(static_cast<std::uint64_t>(time.count()) * times,
                       std::memory_order_relaxed);
  }
  latency_histogram read() const noexcept;

private:
  std::array<std::atomic<std::uint64_t>, latency_histogram::bucket_count> x_counts{};
  std::atomic<std::uint64_t> x_sum_ns{0};
};

/// One ticket, or one shard of it; or several tickets that were measured together.
struct work_note {
  std::string_view method{}; ///< Of static storage, as the registry's names are.
  std::uint64_t shards = 0, values = 0, bytes = 0; ///< Of source.
  std::chrono::nanoseconds took{0}; ///< By all of them.
  std::uint64_t tickets = 1;
};

struct method_totals {
  std::string_view name;
  std::uint64_t values = 0, bytes = 0, busy_ns = 0;
};

/// Of one lane, over all its lives.
struct lane_totals {
  std::uint64_t lives = 0, shards = 0, bytes = 0, busy_ns = 0;
  std::uint64_t peak_rss = 0; ///< Bytes, where the lane is a process of its own.
  std::uint64_t updates = 0, updates_dropped = 0;
  latency_histogram tickets;
  std::vector<method_totals> methods;
};

class lane_meter {
public:
  explicit lane_meter(std::string id) : lane(std::move(id)) {
  }
  lane_meter(const lane_meter&) = delete;
  const std::string lane;

  // The lane's side: one thread at a time, one life after the other.
  void begin_life() {
    ++x_now.lives;
    x_news = true;
    tell();
  }
  void add(const work_note&);
  void saw_memory(std::uint64_t bytes) noexcept {
    x_now.peak_rss = std::max(x_now.peak_rss, bytes);
  }
  /// Tells what was added, if anything was. Waits for nobody.
  void tell();
  /// The same, a thousand times a second at most: totals are 3 KB.
  void tell_in_time(std::chrono::steady_clock::time_point now) {
    if (now - x_told >= std::chrono::milliseconds{1}) {
      x_told = now;
      tell();
    }
  }

  /// What was told last. Any thread.
  lane_totals read() const;

private:
  static constexpr unsigned unread = 4; // beside the number of a place

  lane_totals x_now;
  bool x_news = false; // x_now is not what was told last
  std::chrono::steady_clock::time_point x_told{};

  // Three places: one is written, one is read, the one in between is exchanged for either.
  mutable std::array<lane_totals, 3> x_places;
  unsigned x_written = 0;
  mutable std::atomic<unsigned> x_between{1};
  mutable std::mutex x_readers; // never taken by the lane
  mutable unsigned x_read = 2;
};

/// Where lanes hang their meters, and how they ended. Locked only when a lane starts, when one ends
/// and when somebody reads.
class meter_board {
public:
  /// The meter of this lane, the same in all its lives.
  std::shared_ptr<lane_meter> hang(const std::string& lane);
  std::vector<std::shared_ptr<const lane_meter>> all() const;
  /// The end of a lane; its reason's first word counts.
  void note_death(const std::string& reason);
  std::map<std::string, std::uint64_t> deaths() const;

private:
  mutable std::mutex x_guard;
  std::map<std::string, std::shared_ptr<lane_meter>> x_meters;
  std::map<std::string, std::uint64_t> x_deaths;
};

} // namespace viva::actors
