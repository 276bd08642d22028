#pragma once

// Read log: what a thread reads of files through `source_file`.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <utility>
#include <vector>

namespace viva::formats {

/// While it lives, notes what this thread reads of files through `source_file`: all that somebody
/// who has nothing else of them needs in order to come to the same headers, tensors and numbers.
class read_log {
public:
  struct part_of_file {
    std::uint64_t bytes = 0; ///< Of the whole file.
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges; ///< Offset, bytes; as read.
  };
  using files = std::map<std::filesystem::path, part_of_file>;

  /// `on_read`, where there is one, is told of every read, before it is done.
  explicit read_log(std::function<void()> on_read = {});
  ~read_log();
  read_log(const read_log&) = delete;
  read_log& operator=(const read_log&) = delete;

  const files& seen() const noexcept {
    return x_seen;
  }
  /// By whoever reads: these bytes of a file of so many; none where it was only opened.
  static void note(const std::filesystem::path& file, std::uint64_t bytes, std::uint64_t offset,
                   std::uint64_t count);

private:
  std::function<void()> x_on_read;
  files x_seen;
  read_log* x_outer; ///< It reads for that one, too.
};

} // namespace viva::formats
