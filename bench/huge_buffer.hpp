#pragma once

// A large buffer on large pages, so that memory is measured and not the translation of addresses.

#include <cstddef>
#include <new>

#include <sys/mman.h>

namespace viva::bench {

class huge_buffer {
public:
  explicit huge_buffer(std::size_t bytes) : x_bytes(bytes + page) {
    x_mapped = mmap(nullptr, x_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (x_mapped == MAP_FAILED)
      throw std::bad_alloc();
    const auto at = reinterpret_cast<std::size_t>(x_mapped);
    x_data = reinterpret_cast<std::byte*>((at + page - 1) / page * page);
    madvise(x_data, bytes, MADV_HUGEPAGE); // a wish: without it figures are lower, not wrong
  }
  ~huge_buffer() {
    munmap(x_mapped, x_bytes);
  }
  huge_buffer(const huge_buffer&) = delete;
  huge_buffer& operator=(const huge_buffer&) = delete;

  std::byte* data() const noexcept {
    return x_data;
  }

private:
  static constexpr std::size_t page = std::size_t{2} << 20;
  std::size_t x_bytes;
  void* x_mapped = nullptr;
  std::byte* x_data = nullptr;
};

} // namespace viva::bench
