#pragma once

// Pinned threads that run one piece of work together, and the time it took them.
//
// Thread i stands on the i-th processor that this process may use; thread 0 is the caller's, whose
// own processors are given back at the end. Time is processor time of the slowest thread, so
// a thread that was sent away for others' sake is not charged for it; on a quiet machine it is the
// wall clock's.

#include <barrier>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include <sched.h>

namespace viva::bench {

class team {
public:
  explicit team(unsigned threads);
  ~team();
  team(const team&) = delete;
  team& operator=(const team&) = delete;

  unsigned threads() const noexcept {
    return static_cast<unsigned>(x_seconds.size());
  }
  /// Runs work(0) … work(threads() - 1) at the same time; the seconds of the slowest.
  double seconds(const std::function<void(unsigned part)>& work);

private:
  void run_part(unsigned part);

  cpu_set_t x_before{};
  std::vector<double> x_seconds;
  std::function<void(unsigned)> x_work;
  bool x_done = false;
  std::barrier<> x_start, x_end;
  std::vector<std::jthread> x_others;
};

} // namespace viva::bench
