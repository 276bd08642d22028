#pragma once

// What the system holds of this process, counted before and after many of its wards died.

#include "supervision/process.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/sanitized.hpp"
#include "tests/support/temporary_folder.hpp"

#include <malloc.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

namespace viva::supervision::testing {

struct holdings {
  std::size_t descriptors = 0, threads = 0, children = 0, memfds = 0;
  std::size_t own_kib = 0; ///< Resident; without pages of files, which the system takes and gives.
  std::size_t heap_bytes = 0;
  std::set<std::string> temporary_files{}; ///< Filled in by `at_rest`.

  static holdings now() {
    namespace fs = std::filesystem;
    const auto entries = [](const fs::path& folder) {
      return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), {}));
    };
    holdings all;
    all.descriptors = entries("/proc/self/fd");
    all.threads = entries("/proc/self/task");
    for (const auto& task : fs::directory_iterator("/proc/self/task")) {
      std::ifstream in{task.path() / "children"};
      for (pid_t child = 0; in >> child;)
        ++all.children; // zombies, too
    }
    std::ifstream maps{"/proc/self/maps"};
    for (std::string line; std::getline(maps, line);)
      all.memfds += line.find("memfd:") != std::string::npos ? 1 : 0;
    std::ifstream status{"/proc/self/status"};
    for (std::string line; std::getline(status, line);)
      if (line.starts_with("RssAnon:") || line.starts_with("RssShmem:"))
        all.own_kib += std::stoul(line.substr(line.find(':') + 1));
    const auto heap = ::mallinfo2();
    all.heap_bytes = heap.uordblks + heap.hblkhd;
    return all;
  }
};

/// TMPDIR of this process and of all that it starts, empty at first.
class own_temporary_files {
public:
  own_temporary_files() {
    if (const char* before = std::getenv("TMPDIR"))
      x_before = before;
    ::setenv("TMPDIR", x_folder.path().c_str(), 1);
  }
  ~own_temporary_files() {
    x_before.empty() ? ::unsetenv("TMPDIR") : ::setenv("TMPDIR", x_before.c_str(), 1);
  }
  own_temporary_files(const own_temporary_files&) = delete;

private:
  tests::temporary_folder x_folder;
  std::string x_before;
};

/// In TMPDIR, at any depth, and in /dev/shm those of our name: others come and go there.
inline std::set<std::string> temporary_files() {
  namespace fs = std::filesystem;
  std::set<std::string> all;
  const fs::path shared = "/dev/shm";
  for (const auto& folder : {fs::temp_directory_path(), shared}) {
    std::error_code gone;
    for (fs::recursive_directory_iterator each{folder, gone}, end; !gone && each != end;
         each.increment(gone))
      if (const auto& file = each->path().native();
          folder != shared || file.find("viva") != std::string::npos)
        all.insert(file);
  }
  return all;
}

/// Once the spare waits and nobody else is on its way in or out.
inline holdings at_rest(const standby& source) {
  constexpr int pause_ms = 50, limit_s = 30;
  auto all = holdings::now();
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{limit_s};
  for (int alike = 0; alike < 3 && std::chrono::steady_clock::now() < until;) {
    ::poll(nullptr, 0, pause_ms);
    const auto next = holdings::now();
    const bool same = source.has_spare() && next.children == all.children
                      && next.descriptors == all.descriptors && next.memfds == all.memfds;
    alike = same ? alike + 1 : 0;
    all = next;
  }
  all.temporary_files = temporary_files();
  return all;
}

inline void check_nothing_left(const holdings& before, const holdings& after) {
  CHECK(after.threads == before.threads);
  CHECK(after.children == before.children);
  CHECK(after.descriptors == before.descriptors);
  CHECK(after.memfds == before.memfds);
  CHECK(std::ranges::includes(before.temporary_files, after.temporary_files));
  // Of what grows by a page now and then; 10,000 deaths that leave 16 bytes each leave more.
  CHECK(after.heap_bytes <= before.heap_bytes + (128u << 10));
  CHECK(after.own_kib <= before.own_kib + (tests::sanitized ? 8192 : 1024));
}

} // namespace viva::supervision::testing
