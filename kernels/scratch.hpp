#pragma once

// Memory that a kernel needs for itself: one piece a thread, kept between calls.

#include <cstddef>
#include <memory>
#include <new>

namespace viva::kernels {

/// Grows and never shrinks. Kernels do not throw, so a piece that cannot be had is null.
class scratch {
public:
  /// At least `count` values of T; what they held before is lost.
  template <class T>
  T* of(std::size_t count) noexcept {
    const std::size_t bytes = count * sizeof(T);
    if (bytes > x_bytes || x_memory == nullptr) {
      x_memory.reset(); // the old piece first: both are never needed
      x_memory.reset(new (std::nothrow) std::byte[bytes + 1]);
      x_bytes = x_memory == nullptr ? 0 : bytes;
    }
    return reinterpret_cast<T*>(x_memory.get());
  }

  std::size_t bytes() const noexcept {
    return x_bytes;
  }

private:
  std::unique_ptr<std::byte[]> x_memory;
  std::size_t x_bytes = 0;
};

} // namespace viva::kernels
