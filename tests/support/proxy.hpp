#pragma once

// Proxy: a bad network between a test's two ends, for no packet is lost by order otherwise. It
// forwards TCP from a port of this machine to another one, on its own thread. proxy_program.cpp
// makes a program of it.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include <netinet/in.h>

namespace viva::tests {

class proxy {
public:
  enum class way : std::uint8_t { there, back };
  enum class mood : std::uint8_t {
    forward,
    hold, ///< Nothing is forwarded and nothing lost: it goes on with `forward`.
    drop, ///< What comes is thrown away: bytes are missing in the middle.
    twice ///< Each piece is sent two times.
  };

  /// To `host`, by number; listens on loopback, at `port` or, where that is 0, at any.
  explicit proxy(std::uint16_t target, const std::string& host = "127.0.0.1",
                 std::uint16_t port = 0);
  ~proxy();
  proxy(const proxy&) = delete;
  proxy& operator=(const proxy&) = delete;

  std::uint16_t port() const noexcept {
    return x_port;
  }
  void set(way which, mood how) {
    (which == way::there ? x_there : x_back) = how;
  }
  /// Each piece, in both directions.
  void delay(std::chrono::milliseconds time) {
    x_delay_ms = static_cast<int>(time.count());
  }
  /// Ends all connections now; the next ones are forwarded again, or refused.
  void cut(bool refuse_next = false) {
    x_refuses = refuse_next;
    ++x_cuts;
  }
  void accept_again() {
    x_refuses = false;
  }

private:
  struct line; // one connection
  void run();

  int x_listener = -1;
  std::uint16_t x_port = 0;
  sockaddr_in x_target;
  std::atomic<mood> x_there{mood::forward}, x_back{mood::forward};
  std::atomic<int> x_delay_ms{0}, x_cuts{0};
  std::atomic<bool> x_refuses{false}, x_ends{false};
  std::thread x_thread;
};

} // namespace viva::tests
