#pragma once

// A `viva node` of one lane on loopback, as a process of its own.

#include "kernels/error.hpp"

#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace viva::bench {

class node_child {
public:
  /// It reads and writes below `root`. `more`: flags of `viva node`.
  static expected<std::unique_ptr<node_child>>
  start(const std::filesystem::path& root, const std::vector<std::string>& more = {},
        const std::string& listen = "127.0.0.1:0");
  node_child(const node_child&) = delete;
  node_child& operator=(const node_child&) = delete;
  ~node_child() {
    end(SIGTERM);
  }
  const std::string& address() const noexcept {
    return x_address;
  }
  void signal(int number) const;
  /// The same, and it is waited for; nothing where that was done before.
  void end(int number);

private:
  explicit node_child(pid_t pid) : x_pid(pid) {
  }
  pid_t x_pid;
  std::string x_address;
};

} // namespace viva::bench
