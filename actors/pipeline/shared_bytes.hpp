#pragma once

// Shared bytes: memory that lane processes see, too. A tensor in it is read where it lies and a
// result is written where it stays; all else is copied once on its way to a process.
//
//   auto memory = pipe.share(count);          // zeros; expected<shared_bytes>
//   pipe.stream(views_into(memory->bytes()), int8{}, {.into = results->bytes()});
//
// It must outlive the streams that use it. With lanes that are threads it is memory like any other.
//
// Pages of it are large ones (2 MiB) where the system has them: a new process then has a region of
// gigabytes within a millisecond, where small pages cost it 0.25 to 0.6 us each.

#include "kernels/error.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace viva {

namespace supervision {
class descriptor;
} // namespace supervision

namespace actors {

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

/// A memfd and where it is mapped here.
class shared_region {
public:
  /// Zeros. What is as large as a large page is filled up to a multiple of one, and takes its
  /// memory now, about a second a GiB, if `large`. Errors: over_budget.
  static expected<std::shared_ptr<shared_region>> make(std::uint64_t bytes, bool large = true);
  shared_region(const shared_region&) = delete;
  ~shared_region();

  std::byte* data() const noexcept {
    return x_map.data();
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
      : x_file(std::move(file)), x_map(std::move(map)), x_size(size) {
  }
  const std::shared_ptr<const supervision::descriptor> x_file;
  const file_map x_map;
  const std::uint64_t x_size;
};

/// All regions of a pipeline, by address.
class shared_table {
public:
  /// `on_gone` is called at the end of each region, on any thread. `large`: pages, where processes
  /// map regions; for nodes, whose regions are read and written as files, they only take time.
  shared_table(std::function<void()> on_gone, bool large)
      : x_on_gone(std::move(on_gone)), x_large(large) {
  }
  expected<std::shared_ptr<shared_region>> make(std::uint64_t bytes);

  struct place {
    std::shared_ptr<shared_region> region;
    std::uint64_t offset = 0;
  };
  /// Where [from, from + bytes) lies; nothing where it is not wholly in one region.
  std::optional<place> find(const std::byte* from, std::uint64_t bytes) const;

private:
  mutable std::mutex x_guard;
  std::map<const std::byte*, std::weak_ptr<shared_region>> x_regions; // by first byte
  std::uint32_t x_last_id = 0;
  const std::function<void()> x_on_gone;
  const bool x_large;
};

} // namespace actors

/// Owns it. Move-only; a copy of the handle would be a second owner.
class shared_bytes {
public:
  explicit shared_bytes(std::shared_ptr<actors::shared_region> what) : x_what(std::move(what)) {
  }
  shared_bytes(shared_bytes&&) noexcept = default;
  shared_bytes& operator=(shared_bytes&&) noexcept = default;

  std::span<std::byte> bytes() const noexcept {
    return {x_what->data(), x_what->size()};
  }

private:
  std::shared_ptr<actors::shared_region> x_what;
};

} // namespace viva
