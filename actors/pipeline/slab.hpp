#pragma once

// Slab: the memory of one batch of a stream.

#include "actors/pipeline/shared_bytes.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace viva::actors {

/// Memory at an address of 64, of which only the size is kept when it grows; a region of `shares`.
class slab {
public:
  /// Errors: over_budget; then it has none.
  expected<void> make_room(std::uint64_t bytes, shared_table* shares);
  void drop() noexcept;
  const std::shared_ptr<shared_region>& region() const noexcept {
    return x_region;
  }
  ~slab() {
    drop();
  }
  slab() = default;
  slab(const slab&) = delete;
  slab& operator=(const slab&) = delete;
  void swap(slab& other) noexcept {
    std::swap(x_data, other.x_data);
    std::swap(x_size, other.x_size);
    std::swap(x_region, other.x_region);
  }
  std::byte* data() const noexcept {
    return x_data;
  }
  std::uint64_t size() const noexcept {
    return x_size;
  }

private:
  std::byte* x_data = nullptr;
  std::uint64_t x_size = 0;
  std::shared_ptr<shared_region> x_region;
};

} // namespace viva::actors
