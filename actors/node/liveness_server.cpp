#include "actors/node/listener.hpp"
#include "actors/node/liveness.hpp"
#include "actors/node/liveness_thread.hpp"

#include <atomic>
#include <map>

namespace viva::actors::node {
namespace {

using tcp = asio::ip::tcp;
constexpr auto answered = asio::as_tuple(asio::use_awaitable);

struct coordinator {
  liveness_policy policy;
  life last = life::waiting;
  std::uint64_t connection = 0; ///< The latest; the end of an earlier one means nothing.
};

} // namespace

struct liveness_server::house {
  house(std::uint64_t whose, liveness_options how, changed told, heard heard_by)
      : incarnation(whose), options(std::move(how)), then(std::move(told)),
        by(std::move(heard_by)) {
  }
  const std::uint64_t incarnation;
  const liveness_options options;
  const changed then;
  const heard by;
  std::uint16_t port = 0;
  std::atomic<std::uint64_t> strangers{0};
  // By epoch and join; of the thread, as what follows.
  std::map<std::pair<std::uint64_t, std::uint64_t>, coordinator> all;
  std::size_t connections = 0;
  std::uint64_t connections_made = 0;
  liveness_thread thread;
  tcp::acceptor acceptor{thread.io};

  asio::awaitable<void> accept_all();
  asio::awaitable<void> serve(std::shared_ptr<stream> link);
  asio::awaitable<void> hear_all(stream& link, frame_head beat, beat_log& log);
  asio::awaitable<void> look_at_all();
};

asio::awaitable<void> liveness_server::house::accept_all() {
  asio::steady_timer pause(thread.io);
  while (true) {
    auto [problem, socket] = co_await acceptor.async_accept(answered);
    if (problem) {
      pause.expires_after(accept_pause);
      co_await pause.async_wait(answered);
    } else if (connections < connections_max) {
      const auto link = std::make_shared<stream>(std::move(socket), options.security.get());
      link->leave_by(stream::clock::now() + options.times.lost_after); // unless a beat comes
      asio::co_spawn(thread.io, serve(link), asio::detached);
      asio::co_spawn(
          thread.io, [link, limit = options.times.lost_after] { return link->watch(limit); },
          asio::detached);
    } else {
      ++strangers;
    }
  }
}

asio::awaitable<void> liveness_server::house::serve(std::shared_ptr<stream> link) {
  ++connections;
  std::optional<frame_head> first;
  const auto log = std::make_shared<beat_log>();
  {
    const waiting now(*link);
    if (!co_await link->handshake(true))
      first = co_await hear_beat(*link, *log);
  }
  link->stay();
  if (first && first->key.incarnation != incarnation) {
    // Told who is here, it knows that whom it looks for is gone.
    frame_head head;
    head.kind = frame_kind::beat;
    head.key = {incarnation, first->key.epoch, first->key.job};
    head.number = 1;
    const auto raw = encode(head);
    co_await link->write(raw, {});
    first.reset();
  }
  if (first) {
    asio::co_spawn(thread.io, say_beats(link, first->key, options.times.period, log),
                   asio::detached);
    co_await hear_all(*link, *first, *log);
  } else {
    ++strangers;
  }
  link->close();
  --connections;
}

asio::awaitable<void> liveness_server::house::hear_all(stream& link, frame_head beat,
                                                       beat_log& log) {
  const auto now = [] { return std::chrono::steady_clock::now(); };
  const std::pair who{beat.key.epoch, beat.key.job};
  const auto connection = ++connections_made;
  const auto made = all.try_emplace(who, coordinator{{options.times, now()}});
  made.first->second.connection = connection;
  for (std::optional<frame_head> next = beat; next && next->key == beat.key;) {
    const auto found = all.find(who);
    if (found == all.end() || found->second.connection != connection)
      co_return;
    found->second.policy.heard(now());
    if (const auto said = log.when(next->offset); said && by)
      by(who.first, who.second, *said);
    next = co_await hear_beat(link, log);
  }
  const auto found = all.find(who);
  if (found != all.end() && found->second.connection == connection)
    found->second.policy.broken(now());
}

asio::awaitable<void> liveness_server::house::look_at_all() {
  asio::steady_timer clock(thread.io);
  while (true) {
    const auto now = std::chrono::steady_clock::now();
    for (auto at = all.begin(); at != all.end();) {
      const auto epoch = at->first.first;
      const auto is = at->second.policy.look(now);
      const bool changes = is != std::exchange(at->second.last, is);
      at = is == life::lost ? all.erase(at) : std::next(at);
      if (changes)
        then(epoch, is);
    }
    clock.expires_after(options.times.period);
    co_await clock.async_wait(answered);
  }
}

expected<std::unique_ptr<liveness_server>>
liveness_server::open(const address& where, std::uint64_t incarnation, liveness_options how,
                      changed then, heard by) {
  auto made = std::make_unique<house>(incarnation, std::move(how), std::move(then),
                                      std::move(by));
  const auto port = listen_on(made->acceptor, where);
  if (!port)
    return tl::make_unexpected(port.error());
  made->port = *port;
  asio::co_spawn(made->thread.io, made->accept_all(), asio::detached);
  asio::co_spawn(made->thread.io, made->look_at_all(), asio::detached);
  return std::unique_ptr<liveness_server>(new liveness_server(std::move(made)));
}

liveness_server::liveness_server(std::unique_ptr<house> made) : x_house(std::move(made)) {
}

liveness_server::~liveness_server() {
  x_house->thread.stop();
}

std::uint16_t liveness_server::port() const noexcept {
  return x_house->port;
}

std::uint64_t liveness_server::strangers() const noexcept {
  return x_house->strangers;
}

} // namespace viva::actors::node
