#pragma once

// Shared bytes: memory that lane processes see, too. A tensor in it is read where it lies and a
// result is written where it stays; all else is copied once on its way to a process.
//
//   auto memory = pipe.share(count);          // zeros; expected<shared_bytes>
//   pipe.stream(views_into(memory->bytes()), int8{}, {.into = results->bytes()});
//
// It must outlive the streams that use it. With lanes that are threads it is memory like any other.

#include "kernels/error.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

namespace viva {

namespace actors {

/// A memfd and where it is mapped here.
class shared_region {
public:
  static expected<std::shared_ptr<shared_region>> make(std::uint64_t bytes);
  shared_region(const shared_region&) = delete;
  ~shared_region();

  std::byte* data() const noexcept {
    return x_data;
  }
  std::uint64_t size() const noexcept {
    return x_size;
  }
  int native() const noexcept {
    return x_fd;
  }
  std::uint32_t id = 0;           ///< In the table.
  std::function<void()> on_gone; ///< Called at its end.

private:
  shared_region(int fd, std::byte* data, std::uint64_t size)
      : x_fd(fd), x_data(data), x_size(size) {
  }
  const int x_fd;
  std::byte* const x_data;
  const std::uint64_t x_size;
};

/// All regions of a pipeline, by address.
class shared_table {
public:
  /// `on_gone` is called at the end of each region, on any thread.
  explicit shared_table(std::function<void()> on_gone) : x_on_gone(std::move(on_gone)) {
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
