#pragma once

// Disk: what a job asks of a file system, and no more, so that a simulation can stand in for it,
// lose what was not synced, tear what was, and die between any two calls.
//
// Errors name the file; `disk_full` means that nothing of that call is to be relied on. Of one
// open_file, read and write may be called from any thread at once.

#include "kernels/error.hpp"
#include "supervision/descriptor.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace viva::actors {

using supervision::descriptor;

/// The error of the last system call on `file`: unreadable, disk_full or cannot_write, with a
/// remedy.
error system_error(const std::string& doing, const std::filesystem::path& file, bool writing);

/// What a name stands for, links not followed; names of equal identities are one file.
struct file_identity {
  std::uint64_t device = 0, inode = 0; ///< Zero where nothing has this name.
  friend auto operator<=>(const file_identity&, const file_identity&) = default;
};

class open_file {
public:
  virtual ~open_file() = default;
  virtual expected<void> write(std::uint64_t at, std::span<const std::byte> bytes) = 0;
  /// All of `bytes` or an error.
  virtual expected<void> read(std::uint64_t at, std::span<std::byte> bytes) = 0;
  virtual expected<std::uint64_t> size() = 0;
  virtual expected<void> resize(std::uint64_t bytes) = 0;
  /// Blocks for the first `bytes` of the file, whose size stays. Does nothing on a file system that
  /// cannot reserve.
  virtual expected<void> reserve(std::uint64_t bytes) = 0;
  /// Data and size are durable when it returns. After an error nothing written before is.
  virtual expected<void> sync() = 0;
};

class disk {
public:
  virtual ~disk() = default;
  enum class mode : std::uint8_t { read, write, write_or_create };
  virtual expected<std::unique_ptr<open_file>> open(const std::filesystem::path& file,
                                                    mode how) = 0;
  virtual file_identity identity(const std::filesystem::path& name) = 0;
  /// One step: refuses where `to` is there, or with `exchange` swaps the two.
  virtual expected<void> rename(const std::filesystem::path& from, const std::filesystem::path& to,
                                bool exchange) = 0;
  virtual expected<void> sync_folder(const std::filesystem::path& folder) = 0;
  virtual void remove_all(const std::filesystem::path& name) = 0;
};

/// The machine's own file systems.
disk& real_disk();

} // namespace viva::actors
