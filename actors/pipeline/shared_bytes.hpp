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

#include "actors/pipeline/shared_region.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>

namespace viva {

namespace actors {

/// All regions of a pipeline, by address.
class shared_table {
public:
  /// `on_gone` is called at the end of each region, on any thread. `large`: pages, where processes
  /// map regions; for nodes, whose regions are read and written as files, they only take time.
  shared_table(std::function<void()> on_gone, bool large)
      : x_on_gone(std::move(on_gone)), x_large(large) {
  }
  /// `soon`: of small pages, because large ones take 2 ms each before the first byte is written.
  expected<std::shared_ptr<shared_region>> make(std::uint64_t bytes, bool soon = false);
  /// Puts a region of a file into the table, which then knows what lies in it.
  void enter(const std::shared_ptr<shared_region>&);

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

/// A file that lane processes may read. Move-only.
class lent_file {
public:
  lent_file() = default;
  explicit lent_file(std::shared_ptr<actors::shared_region> what) : x_what(std::move(what)) {
  }
  lent_file(lent_file&&) noexcept = default;
  lent_file& operator=(lent_file&&) noexcept = default;

private:
  std::shared_ptr<actors::shared_region> x_what;
};

} // namespace viva
