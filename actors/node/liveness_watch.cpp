#include "actors/node/liveness.hpp"
#include "actors/node/liveness_thread.hpp"

#include <atomic>
#include <map>

namespace viva::actors::node {
namespace {

constexpr auto answered = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::milliseconds retry_pause{20};

struct watched {
  watched(asio::io_context& io, address at, job_key whose, liveness_watch::changed told,
          const liveness_times& times)
      : where(std::move(at)), key(whose), then(std::move(told)),
        policy(times, std::chrono::steady_clock::now()), look(io), pause(io) {
  }
  const address where;
  const job_key key;
  liveness_watch::changed then;
  liveness_policy policy;
  life last = life::waiting;
  std::shared_ptr<stream> link{};
  asio::steady_timer look, pause;
  bool over = false;

  void end() {
    over = true;
    look.cancel();
    pause.cancel();
    if (link)
      link->close();
  }
};
using watched_ptr = std::shared_ptr<watched>;

} // namespace

struct liveness_watch::house {
  explicit house(liveness_options how) : options(std::move(how)) {
  }
  const liveness_options options;
  std::atomic<std::uint64_t> next{1};
  liveness_thread thread;
  std::map<std::uint64_t, watched_ptr> all{}; // of the thread

  asio::awaitable<void> look_at(watched_ptr who, std::uint64_t number);
  asio::awaitable<void> listen_to(watched_ptr who);
  asio::awaitable<void> listen_once(watched_ptr who);
};

asio::awaitable<void> liveness_watch::house::look_at(watched_ptr who, std::uint64_t number) {
  while (!who->over) {
    const auto now = who->policy.look(std::chrono::steady_clock::now());
    if (now != who->last) {
      who->last = now;
      who->then(now);
    }
    if (now == life::lost) {
      who->end();
      all.erase(number);
      co_return;
    }
    who->look.expires_after(options.times.period);
    co_await who->look.async_wait(answered);
  }
}

asio::awaitable<void> liveness_watch::house::listen_to(watched_ptr who) {
  while (!who->over) {
    co_await listen_once(who);
    who->policy.broken(std::chrono::steady_clock::now());
    if (who->over)
      co_return;
    who->pause.expires_after(retry_pause);
    co_await who->pause.async_wait(answered);
  }
}

asio::awaitable<void> liveness_watch::house::listen_once(watched_ptr who) {
  const auto link = std::make_shared<stream>(asio::ip::tcp::socket(thread.io),
                                             options.security.get());
  who->link = link;
  const auto problem = co_await link->connect(who->where);
  if (problem || who->over)
    co_return;
  if (co_await link->handshake(false))
    co_return;
  const auto log = std::make_shared<beat_log>();
  asio::co_spawn(
      thread.io, say_beats(link, who->key, options.times.period, log), asio::detached);
  while (!who->over) {
    const auto beat = co_await hear_beat(*link, *log);
    if (!beat)
      break;
    if (beat->key.incarnation != who->key.incarnation) {
      who->policy.replaced();
      break;
    }
    who->policy.heard(std::chrono::steady_clock::now());
  }
  link->close();
}

liveness_watch::liveness_watch(liveness_options how)
    : x_house(std::make_unique<house>(std::move(how))) {
}

liveness_watch::~liveness_watch() {
  x_house->thread.stop();
}

std::uint64_t liveness_watch::watch(const address& where, const job_key& whose, changed then) {
  auto* home = x_house.get();
  const auto number = home->next++;
  const auto who = std::make_shared<watched>(home->thread.io, where, whose, std::move(then),
                                             home->options.times);
  asio::post(home->thread.io, [home, who, number] {
    home->all.emplace(number, who);
    asio::co_spawn(home->thread.io, home->look_at(who, number), asio::detached);
    asio::co_spawn(home->thread.io, home->listen_to(who), asio::detached);
  });
  return number;
}

void liveness_watch::forget(std::uint64_t which) {
  auto* home = x_house.get();
  asio::post(home->thread.io, [home, which] {
    const auto found = home->all.find(which);
    if (found == home->all.end())
      return;
    found->second->end();
    home->all.erase(found);
  });
}

} // namespace viva::actors::node
