#pragma once

// Workplace: the open files of one job. Sources are mapped read-only; outputs grow under a name
// that ends in .partial and get their final name only when every byte is durable.
//
//   OUT.partial   the output, file or folder        OUT.journal   what of it is durable
//
// Lanes call `source` and `write` from any thread at once; the rest is for one thread.

#include "actors/plan.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace viva::actors {

/// A file descriptor that closes itself.
class descriptor {
public:
  descriptor() = default;
  explicit descriptor(int fd) noexcept : x_fd(fd) {
  }
  descriptor(descriptor&& other) noexcept : x_fd(std::exchange(other.x_fd, -1)) {
  }
  descriptor& operator=(descriptor&& other) noexcept {
    std::swap(x_fd, other.x_fd);
    return *this;
  }
  ~descriptor();
  int get() const noexcept {
    return x_fd;
  }

private:
  int x_fd = -1;
};

/// The error of the last system call on `file`: unreadable, disk_full or cannot_write, with a
/// remedy.
error system_error(const std::string& doing, const std::filesystem::path& file, bool writing);

/// Maps a whole file read-only.
class mapped_file {
public:
  static expected<mapped_file> open(const std::filesystem::path& file);
  mapped_file(mapped_file&& other) noexcept
    : x_data(std::exchange(other.x_data, nullptr)), x_bytes(other.x_bytes) {
  }
  mapped_file& operator=(mapped_file&&) = delete;
  ~mapped_file();
  std::span<const std::byte> bytes() const noexcept {
    return {x_data, x_bytes};
  }

private:
  mapped_file(const std::byte* data, std::size_t bytes) noexcept : x_data(data), x_bytes(bytes) {
  }
  const std::byte* x_data;
  std::size_t x_bytes;
};

std::filesystem::path partial_path(const std::filesystem::path& output);
std::filesystem::path journal_path(const std::filesystem::path& output);

/// Refuses an output that is the source by whatever path, lies inside it, or is there already.
expected<void> check_output(const std::filesystem::path& source,
                            const std::filesystem::path& output, bool overwrite);

class workplace {
public:
  /// Maps the sources and, where the plan writes, makes or reopens the partial output: space is
  /// reserved, headers, constants and small files are written.
  static expected<workplace> open(const plan& p, const std::filesystem::path& output);

  std::span<const std::byte> source(std::uint32_t file) const noexcept {
    return x_sources[file].bytes();
  }
  expected<void> write(placement where, std::span<const std::byte> bytes) const;
  expected<void> read_back(placement where, std::span<std::byte> bytes) const;

  /// Makes every byte written so far durable.
  expected<void> sync() const;

  /// Gives the output its final name; `sync` must have succeeded after the last write.
  expected<void> publish(bool overwrite) const;

private:
  expected<void> make_partial(const plan& p);

  std::vector<mapped_file> x_sources;
  std::vector<descriptor> x_outputs;
  std::vector<std::filesystem::path> x_output_names;
  std::filesystem::path x_output;
  bool x_folder = false;
};

/// Removes OUT.partial and OUT.journal of a job that will not be resumed.
void discard(const std::filesystem::path& output);

} // namespace viva::actors
