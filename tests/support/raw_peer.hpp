#pragma once

// A plain socket, for what no client of ours would say.

#include "actors/node/wire.hpp"
#include "supervision/descriptor.hpp"
#include "tests/support/bulk_ground.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <string_view>

namespace viva::tests {

/// A peer that says what it likes. Its reads give up after 10 s.
class raw_peer {
public:
  explicit raw_peer(std::uint16_t port)
      : x_socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(x_socket.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
    const timeval limit{10, 0};
    ::setsockopt(x_socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  /// One that connected to us.
  explicit raw_peer(supervision::descriptor socket) : x_socket(std::move(socket)) {
    REQUIRE(x_socket);
  }
  void say(std::span<const std::byte> bytes) {
    ::send(x_socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  void say(std::string_view bytes) {
    say(std::as_bytes(std::span(bytes)));
  }
  void say(const node::frame_head& head, std::string_view body = {}) {
    say(node::encode(head));
    say(body);
  }
  /// The next frame's head; its body is left out.
  std::optional<node::frame_head> hear() {
    node::raw_head raw;
    if (!take(raw))
      return std::nullopt;
    const auto head = node::decode_head(raw);
    REQUIRE(head);
    std::vector<std::byte> body(head->body_bytes());
    return take(body) ? std::optional(*head) : std::nullopt;
  }
  /// True where the other side closes, within 10 s, whatever it says before.
  bool is_closed() {
    char rest[4096];
    while (true) {
      const auto got = ::recv(x_socket.get(), rest, sizeof rest, 0);
      if (got == 0 || (got < 0 && errno == ECONNRESET))
        return true;
      if (got < 0)
        return false;
    }
  }

private:
  bool take(std::span<std::byte> into) {
    return into.empty()
           || ::recv(x_socket.get(), into.data(), into.size(), MSG_WAITALL)
                == static_cast<ssize_t>(into.size());
  }
  supervision::descriptor x_socket;
};

inline node::frame_head hello() {
  node::frame_head head;
  head.key = a_job;
  head.number = 1;
  return head;
}

} // namespace viva::tests
