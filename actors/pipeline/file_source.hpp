#pragma once

// File source: values that lie in a file, read again wherever a shard of them is lost. Bytes of two
// states of one file must not meet in a tensor, so only what the file was at first is read.

#include "actors/pipeline/tensor_id.hpp"
#include "kernels/error.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

namespace viva::actors {

struct file_state;

class file_source {
public:
  file_source() = default; ///< None.
  /// As the file is now. Errors: unreadable.
  static expected<file_source> of(const file_values&);

  explicit operator bool() const noexcept {
    return x_was != nullptr;
  }
  /// Bytes [from, from + to.size()) of the values. Errors: unreadable, also where the file is not
  /// what it was. Its inode, size and time of change tell that; what is written within some
  /// milliseconds of `of`, the tick of the file system's clock, and changes no size, they do not.
  expected<void> read(std::uint64_t from, std::span<std::byte> to) const;

private:
  std::filesystem::path x_path;
  std::uint64_t x_first = 0; ///< Bytes before the first value.
  std::shared_ptr<const file_state> x_was;
};

} // namespace viva::actors
