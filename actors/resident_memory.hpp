#pragma once

// What this process has had in memory at most.

#include <cstdint>
#include <fstream>
#include <string>

namespace viva::actors {

/// Not getrusage's ru_maxrss, which begins with what the parent of an exec had.
inline std::uint64_t peak_rss_bytes() {
  std::ifstream in{"/proc/self/status"};
  for (std::string word; in >> word;)
    if (std::uint64_t kib = 0; word == "VmHWM:" && in >> kib)
      return kib * 1024;
  return 0;
}

} // namespace viva::actors
