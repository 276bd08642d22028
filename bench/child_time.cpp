#include "bench/child_time.hpp"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <unistd.h>

namespace viva::bench {
namespace {

namespace fs = std::filesystem;

/// /proc/PID/task/TID of each of its threads; none of a process that is gone.
std::vector<fs::path> threads_of(long pid) {
  std::vector<fs::path> all;
  std::error_code gone;
  for (fs::directory_iterator at("/proc/" + std::to_string(pid) + "/task", gone), end;
       !gone && at != end; at.increment(gone))
    all.push_back(at->path());
  return all;
}

double seconds_of(long pid) {
  double sum = 0;
  for (const auto& thread : threads_of(pid)) {
    double ns = 0;
    if (std::ifstream(thread / "schedstat") >> ns)
      sum += 1e-9 * ns;
  }
  return sum;
}

} // namespace

double processor_seconds_of_children() {
  double sum = 0;
  std::vector<long> open{::getpid()};
  while (!open.empty()) {
    const auto parent = open.back();
    open.pop_back();
    for (const auto& thread : threads_of(parent)) {
      std::ifstream in(thread / "children");
      for (long child = 0; in >> child;) {
        sum += seconds_of(child);
        open.push_back(child);
      }
    }
  }
  return sum;
}

} // namespace viva::bench
