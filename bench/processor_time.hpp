#pragma once

// Processor time of the calling thread: what others took from it is not charged.

#include <ctime>

namespace viva::bench {

inline double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

} // namespace viva::bench
