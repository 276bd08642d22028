#pragma once

// A file descriptor that closes itself.

#include <unistd.h>

#include <utility>

namespace viva::supervision {

class descriptor {
public:
  descriptor() = default;
  explicit descriptor(int fd) noexcept : x_fd(fd) {
  }
  descriptor(descriptor&& other) noexcept : x_fd(std::exchange(other.x_fd, -1)) {
  }
  descriptor& operator=(descriptor&& other) noexcept {
    std::swap(x_fd, other.x_fd);
    return *this;
  }
  ~descriptor() {
    if (x_fd >= 0)
      ::close(x_fd);
  }
  int get() const noexcept {
    return x_fd;
  }
  int release() noexcept {
    return std::exchange(x_fd, -1);
  }
  explicit operator bool() const noexcept {
    return x_fd >= 0;
  }

private:
  int x_fd = -1;
};

} // namespace viva::supervision
