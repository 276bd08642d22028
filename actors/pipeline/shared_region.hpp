#pragma once

// Shared region: bytes that lane processes map, too, and how a file is mapped on large pages.

#include "kernels/error.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <utility>

namespace viva::supervision {
class descriptor;
} // namespace viva::supervision

namespace viva::actors {

/// A whole file, shared, at an address where large pages fit; as mmap where it is smaller than one.
class file_map {
public:
  file_map() = default;
  /// Null data and errno where the system refuses. `bytes` must be what the file has.
  file_map(int file, std::uint64_t bytes, int rights);
  file_map(file_map&& other) noexcept
      : x_data(std::exchange(other.x_data, nullptr)), x_size(other.x_size) {
  }
  file_map& operator=(file_map&& other) noexcept {
    std::swap(x_data, other.x_data);
    std::swap(x_size, other.x_size);
    return *this;
  }
  ~file_map();
  std::byte* data() const noexcept {
    return x_data;
  }
  std::uint64_t size() const noexcept {
    return x_size;
  }

private:
  std::byte* x_data = nullptr;
  std::uint64_t x_size = 0;
};

inline constexpr std::uint64_t large_page_bytes = 2 << 20;

/// A memfd and where it is mapped here; or a file of the disk that is mapped here anyway.
class shared_region {
public:
  /// Zeros. What is as large as a large page is filled up to a multiple of one, and takes its
  /// memory now, about a second a GiB, if `large`. Errors: over_budget.
  static expected<std::shared_ptr<shared_region>> make(std::uint64_t bytes, bool large = true);
  /// Of a file, all of which is mapped at `mapped` for as long as this lives. Only to be read; a
  /// lane that reads what was cut off meanwhile dies. Errors: unreadable.
  static expected<std::shared_ptr<shared_region>> of_file(const std::filesystem::path&,
                                                          std::span<const std::byte> mapped);
  shared_region(const shared_region&) = delete;
  ~shared_region();

  std::byte* data() const noexcept {
    return x_data;
  }
  /// What was asked for; the file may be longer.
  std::uint64_t size() const noexcept {
    return x_size;
  }
  /// To send to a process; no copy of it is needed.
  const std::shared_ptr<const supervision::descriptor>& file() const noexcept {
    return x_file;
  }
  std::uint32_t id = 0;          ///< In the table.
  /// A byte of it, once it is written, is the same for as long as it lives.
  bool stays = false;
  std::function<void()> on_gone; ///< Called at its end.

private:
  shared_region(std::shared_ptr<const supervision::descriptor> file, file_map map,
                std::uint64_t size)
      : x_file(std::move(file)), x_map(std::move(map)), x_data(x_map.data()), x_size(size) {
  }
  shared_region(std::shared_ptr<const supervision::descriptor> file,
                std::span<const std::byte> mapped)
      : x_file(std::move(file)), x_data(const_cast<std::byte*>(mapped.data())),
        x_size(mapped.size()) {
  }
  const std::shared_ptr<const supervision::descriptor> x_file;
  const file_map x_map;
  std::byte* const x_data;
  const std::uint64_t x_size;
};

} // namespace viva::actors
