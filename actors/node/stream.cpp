#include "actors/node/stream.hpp"

#include "actors/node/tls_engine.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <array>
#include <utility>

#include <netinet/tcp.h>
#include <sys/socket.h>

namespace viva::actors::node {
namespace {

constexpr auto answered = asio::as_tuple(asio::use_awaitable);
using buffers = std::array<asio::const_buffer, 2>;

std::variant<asio::ip::tcp::socket, asio::ssl::stream<asio::ip::tcp::socket>>
made_of(asio::ip::tcp::socket socket, tls* security) {
  if (security == nullptr)
    return socket;
  return asio::ssl::stream<asio::ip::tcp::socket>(std::move(socket), security->context);
}

/// What is left of two buffers behind the first `bytes`.
void advance(buffers& all, std::size_t bytes) {
  for (auto& each : all) {
    const auto here = std::min(bytes, each.size());
    each += here;
    bytes -= here;
  }
}

} // namespace

stream::stream(tcp::socket socket, tls* security)
    : x_by(made_of(std::move(socket), security)), x_clock(lowest().get_executor()) {
  tune();
}

stream::tcp::socket& stream::lowest() {
  if (auto* direct = std::get_if<tcp::socket>(&x_by))
    return *direct;
  return std::get<secure>(x_by).next_layer();
}

void stream::tune() {
  if (!lowest().is_open())
    return;
  error_code ignored;
  lowest().non_blocking(true, ignored);
  lowest().set_option(tcp::no_delay(true), ignored);
  // A peer whose machine is gone says nothing: who only waits for frames learns it from these.
  lowest().set_option(asio::socket_base::keep_alive(true), ignored);
  const int socket = lowest().native_handle();
  const std::pair<int, int> rows[] = {{TCP_KEEPIDLE, 10}, {TCP_KEEPINTVL, 5}, {TCP_KEEPCNT, 3}};
  for (const auto& [option, seconds_or_times] : rows)
    ::setsockopt(socket, IPPROTO_TCP, option, &seconds_or_times, sizeof seconds_or_times);
}

asio::awaitable<error_code> stream::connect(const address& where) {
  tcp::resolver resolver(lowest().get_executor());
  error_code problem;
  const auto number = asio::ip::make_address(where.host, problem);
  if (!problem) { // no names are looked up, so nothing waits for that
    auto [failed] = co_await lowest().async_connect({number, where.port}, answered);
    problem = failed;
  } else {
    auto [unknown, found] =
        co_await resolver.async_resolve(where.host, std::to_string(where.port), answered);
    if (unknown || x_closed)
      co_return unknown ? unknown : error_code(asio::error::operation_aborted);
    auto [failed, at] = co_await asio::async_connect(lowest(), found, answered);
    problem = failed;
  }
  if (!problem && x_closed)
    problem = asio::error::operation_aborted;
  tune();
  co_return problem;
}

asio::awaitable<error_code> stream::handshake(bool as_server) {
  auto* encrypted = std::get_if<secure>(&x_by);
  if (encrypted == nullptr)
    co_return error_code{};
  auto [problem] = co_await encrypted->async_handshake(
      as_server ? asio::ssl::stream_base::server : asio::ssl::stream_base::client, answered);
  co_return problem;
}

asio::awaitable<error_code> stream::read(std::span<std::byte> into) {
  auto* direct = std::get_if<tcp::socket>(&x_by);
  while (!into.empty()) {
    const auto room = asio::buffer(into.data(), into.size());
    error_code problem;
    std::size_t got = 0;
    if (direct != nullptr)
      std::tie(problem, got) = co_await direct->async_read_some(room, answered);
    else
      std::tie(problem, got) = co_await std::get<secure>(x_by).async_read_some(room, answered);
    if (problem)
      co_return problem;
    x_moved = clock::now();
    into = into.subspan(got);
    x_reading = !into.empty();
  }
  co_return error_code{};
}

asio::awaitable<error_code> stream::write(std::span<const std::byte> head,
                                          std::span<const std::byte> body) {
  auto* direct = std::get_if<tcp::socket>(&x_by);
  buffers left{asio::buffer(head.data(), head.size()), asio::buffer(body.data(), body.size())};
  while (asio::buffer_size(left) > 0) {
    error_code problem;
    std::size_t put = 0;
    if (direct != nullptr)
      std::tie(problem, put) = co_await direct->async_write_some(left, answered);
    else
      std::tie(problem, put) = co_await std::get<secure>(x_by).async_write_some(left, answered);
    if (problem)
      co_return problem;
    x_moved = clock::now();
    advance(left, put);
  }
  co_return error_code{};
}

void stream::close() {
  x_closed = true;
  x_clock.cancel();
  error_code ignored;
  lowest().close(ignored);
}

asio::awaitable<void> stream::watch(clock::duration patience) {
  const auto step = std::min<clock::duration>(patience / 4, std::chrono::seconds(1));
  while (!x_closed) {
    const auto due = clock::now() + step;
    x_clock.expires_at(due);
    co_await x_clock.async_wait(answered);
    const auto now = clock::now();
    if (now - due > patience / 4) { // this side was not running
      x_moved = now;
      x_due = x_due == clock::time_point::max() ? x_due : x_due + (now - due);
    }
    const bool stands = (x_waits > 0 || x_reading) && now - x_moved > patience;
    if (!x_closed && (stands || now > x_due)) {
      x_stalled = true;
      close();
    }
  }
}

} // namespace viva::actors::node
