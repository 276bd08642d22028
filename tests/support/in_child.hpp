#pragma once

// Work in a process of its own: what it does to itself, as a limit on its memory, ends with it.

#include "tests/support/catch.hpp"

#include <cstdlib>
#include <fstream>
#include <string>

#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace viva::tests {

/// A line of /proc/PID/status in bytes: "VmData", "RssShmem"; 0 where there is none.
inline std::uint64_t status_bytes(const std::string& pid, const std::string& key) {
  std::ifstream in("/proc/" + pid + "/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(key + ":"))
      return std::stoull(line.substr(key.size() + 1)) << 10;
  return 0;
}

/// From now on this process gets so many bytes more, of heap and of private maps.
inline bool allow_more_memory(std::uint64_t bytes) {
  ::malloc_trim(0); // what others left free is no part of it
  const auto most = status_bytes("self", "VmData") + bytes;
  const rlimit limit{most, most};
  return ::setrlimit(RLIMIT_DATA, &limit) == 0;
}

/// False where work() is, throws, dies, or takes longer than two minutes. No other thread may be
/// there.
template <class Work>
bool holds_in_child(const Work& work) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::alarm(120);
    bool fine = false;
    try {
      fine = work();
    } catch (...) {
    }
    ::_exit(fine ? 0 : 1);
  }
  int how = 0;
  REQUIRE(::waitpid(child, &how, 0) == child);
  return WIFEXITED(how) && WEXITSTATUS(how) == 0;
}

} // namespace viva::tests
