#pragma once

// A file opened for reading: its size, and exact reads at an offset.

#include "kernels/error.hpp"

#include <cstdint>
#include <filesystem>
#include <string>

namespace viva::formats {

class source_file {
public:
  /// Opens a regular file. `unreadable` where it is missing, not permitted or no regular file.
  static expected<source_file> open(const std::filesystem::path& path);

  source_file(source_file&& other) noexcept;
  source_file& operator=(source_file&&) = delete;
  ~source_file();

  std::uint64_t bytes() const noexcept {
    return x_bytes;
  }

  /// Exactly `count` bytes from `offset`. `unreadable` where the file ends before or the read
  /// fails.
  expected<std::string> read(std::uint64_t offset, std::uint64_t count) const;

private:
  source_file(std::filesystem::path path, int descriptor, std::uint64_t bytes);

  std::filesystem::path x_path;
  int x_descriptor = -1;
  std::uint64_t x_bytes = 0;
};

/// A whole text file of at most `bytes_max` bytes.
expected<std::string> read_text(const std::filesystem::path& path, std::uint64_t bytes_max);

} // namespace viva::formats
