#include "tests/support/proxy.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <deque>
#include <stdexcept>
#include <string>
#include <vector>

namespace viva::tests {
namespace {

using clock = std::chrono::steady_clock;
constexpr std::size_t held_max = 1u << 20; // then it reads no more, as a full network

sockaddr_in place(const std::string& host, std::uint16_t port) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(port);
  if (::inet_pton(AF_INET, host.c_str(), &at.sin_addr) != 1)
    throw std::runtime_error(host + " is no address");
  return at;
}

struct piece {
  clock::time_point due;
  std::string bytes;
};

struct pipe_way {
  std::deque<piece> held{};
  std::size_t bytes = 0;
};

} // namespace

struct proxy::line {
  int ends[2]; // the client's, the target's
  pipe_way ways[2]; // there, back
  bool over = false;

  void take(int which, mood how, int delay_ms) {
    char room[65536];
    auto& to = ways[which];
    if (to.bytes >= held_max)
      return;
    const auto got = ::recv(ends[which], room, sizeof room, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
      over = true;
    if (got <= 0 || how == mood::drop)
      return;
    std::string bytes(room, static_cast<std::size_t>(got));
    if (how == mood::twice)
      bytes += bytes;
    to.bytes += bytes.size();
    to.held.push_back({clock::now() + std::chrono::milliseconds(delay_ms), std::move(bytes)});
  }

  void give(int which, mood how) {
    auto& from = ways[which];
    while (how != mood::hold && !from.held.empty() && from.held.front().due <= clock::now()) {
      auto& bytes = from.held.front().bytes;
      const auto put = ::send(ends[1 - which], bytes.data(), bytes.size(),
                              MSG_DONTWAIT | MSG_NOSIGNAL);
      if (put < 0) {
        over = over || (errno != EAGAIN && errno != EINTR);
        return;
      }
      from.bytes -= static_cast<std::size_t>(put);
      bytes.erase(0, static_cast<std::size_t>(put));
      if (bytes.empty())
        from.held.pop_front();
    }
  }
};

proxy::proxy(std::uint16_t target, const std::string& host, std::uint16_t port)
    : x_target(place(host, target)) {
  x_listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  auto at = place("127.0.0.1", port);
  socklen_t size = sizeof at;
  const int again = 1;
  ::setsockopt(x_listener, SOL_SOCKET, SO_REUSEADDR, &again, sizeof again);
  if (::bind(x_listener, reinterpret_cast<sockaddr*>(&at), size) != 0
      || ::listen(x_listener, 64) != 0
      || ::getsockname(x_listener, reinterpret_cast<sockaddr*>(&at), &size) != 0)
    throw std::runtime_error("the proxy cannot listen");
  x_port = ntohs(at.sin_port);
  x_thread = std::thread([this] { run(); });
}

proxy::~proxy() {
  x_ends = true;
  x_thread.join();
  ::close(x_listener);
}

void proxy::run() {
  std::vector<line> lines;
  int cuts = 0;
  const auto close_line = [](line& each) {
    for (const int end : each.ends)
      ::close(end);
  };
  while (!x_ends) {
    std::vector<pollfd> polled{{x_listener, POLLIN, 0}};
    for (const auto& each : lines)
      for (int w = 0; w < 2; ++w)
        polled.push_back({each.ends[w],
                          static_cast<short>(each.ways[w].bytes < held_max ? POLLIN : 0), 0});
    ::poll(polled.data(), polled.size(), 1);
    if (const int client = ::accept4(x_listener, nullptr, nullptr, SOCK_CLOEXEC); client >= 0) {
      const int there = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      if (!x_refuses
          && ::connect(there, reinterpret_cast<const sockaddr*>(&x_target), sizeof x_target) == 0) {
        lines.push_back({{client, there}, {}, false});
      } else {
        ::close(client);
        ::close(there);
      }
    }
    const bool cut = cuts != x_cuts;
    cuts = x_cuts;
    for (auto& each : lines) {
      each.over = each.over || cut;
      for (int w = 0; w < 2 && !each.over; ++w) {
        const mood how = w == 0 ? x_there : x_back;
        each.take(w, how, x_delay_ms);
        each.give(w, how);
      }
      if (each.over)
        close_line(each);
    }
    std::erase_if(lines, [](const line& each) { return each.over; });
  }
  for (auto& each : lines)
    close_line(each);
}

} // namespace viva::tests
