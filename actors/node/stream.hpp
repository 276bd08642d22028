#pragma once

// Stream: one connection, plain or encrypted, and when it last moved. Only files of this folder
// that know Asio include it.
//
// Every wait is bounded: who begins to wait for the peer says so (`begin`), and `watch` closes the
// stream where no byte came or went for all its patience, where a read stands still in its middle,
// or where what had to come first has not come whole. A program that was stopped itself in the
// meantime blames nobody.

#include "actors/node/network_engine.hpp"
#include "actors/node/tls.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <string>
#include <variant>

namespace viva::actors::node {

class stream {
public:
  using tcp = asio::ip::tcp;
  using clock = std::chrono::steady_clock;

  /// `security` null: plain. It has to outlive the stream.
  stream(tcp::socket socket, tls* security);

  asio::awaitable<error_code> connect(const address& where);
  asio::awaitable<error_code> handshake(bool as_server);
  /// All of it or an error.
  asio::awaitable<error_code> read(std::span<std::byte> into);
  asio::awaitable<error_code> write(std::span<const std::byte> head,
                                    std::span<const std::byte> body);
  /// What is under way ends with an error. May be called twice.
  void close();

  /// Something is waited for from now on; counted, so several may be.
  void begin() noexcept {
    x_moved = x_waits++ == 0 ? clock::now() : x_moved;
  }
  void end() noexcept {
    --x_waits;
  }
  /// Closed, as stalled, unless `stay` comes in time: who only trickles is moving, too.
  void leave_by(clock::time_point when) noexcept {
    x_due = when;
  }
  void stay() noexcept {
    x_due = clock::time_point::max();
  }
  /// Until it is closed. Afterwards `stalled` says whether this closed it.
  asio::awaitable<void> watch(clock::duration patience);
  bool stalled() const noexcept {
    return x_stalled;
  }

private:
  using secure = asio::ssl::stream<tcp::socket>;
  tcp::socket& lowest();
  void tune();

  std::variant<tcp::socket, secure> x_by;
  asio::steady_timer x_clock;
  clock::time_point x_moved = clock::now(), x_due = clock::time_point::max();
  int x_waits = 0;
  bool x_reading = false; // a part has come, the rest has to
  bool x_closed = false, x_stalled = false;
};

/// While something is waited for.
class waiting {
public:
  explicit waiting(stream& on) : x_on(on) {
    x_on.begin();
  }
  ~waiting() {
    x_on.end();
  }
  waiting(const waiting&) = delete;
  waiting& operator=(const waiting&) = delete;

private:
  stream& x_on;
};

} // namespace viva::actors::node
