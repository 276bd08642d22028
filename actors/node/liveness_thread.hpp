#pragma once

// The thread of one side of liveness, and what both sides do on it.

#include "actors/node/beat_log.hpp"
#include "actors/node/stream.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <functional>
#include <future>

#include <pthread.h>
#include <signal.h>

namespace viva::actors::node {

/// Says a beat each period until the stream is closed. What does not leave, because the peer takes
/// nothing, holds up this and nothing else.
inline asio::awaitable<void> say_beats(std::shared_ptr<stream> to, job_key key,
                                       std::chrono::milliseconds period,
                                       std::shared_ptr<beat_log> log) {
  asio::steady_timer clock(co_await asio::this_coro::executor);
  frame_head head;
  head.kind = frame_kind::beat;
  head.key = key;
  while (true) {
    head.number = log->say(lease::now());
    head.offset = log->heard();
    const auto raw = encode(head);
    if (co_await to->write(raw, {}))
      co_return;
    clock.expires_after(period);
    co_await clock.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

/// The next beat; nothing where something else came or the connection is gone.
inline asio::awaitable<std::optional<frame_head>> hear_beat(stream& from, beat_log& log) {
  raw_head raw;
  if (co_await from.read(raw))
    co_return std::nullopt;
  const auto head = decode_head(raw);
  if (!head || head->kind != frame_kind::beat || head->number != log.heard() + 1
      || !log.has_said(head->offset))
    co_return std::nullopt;
  log.hear(head->number);
  co_return *head;
}

class liveness_thread {
public:
  liveness_thread() : x_open(io.get_executor()) {
    sigset_t all{}, before{};
    ::sigfillset(&all); // signals are the program's own threads' affair
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    x_thread = std::thread([this] { io.run(); });
    ::pthread_setname_np(x_thread.native_handle(), "viva.liveness");
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  ~liveness_thread() {
    stop();
  }
  /// Nothing runs any more.
  void stop() {
    io.stop();
    if (x_thread.joinable())
      x_thread.join();
  }

  asio::io_context io{1};

private:
  asio::executor_work_guard<asio::io_context::executor_type> x_open;
  std::thread x_thread;
};

} // namespace viva::actors::node
