// Who lives: both sides over a bad network (the policy alone: node_liveness_policy_test.cpp).

#include "actors/node/certificates.hpp"
#include "actors/node/leases.hpp"
#include "actors/node/liveness.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/proxy.hpp"
#include "tests/support/raw_peer.hpp"
#include "tests/support/temporary_folder.hpp"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

using namespace viva;
using namespace viva::tests;
using namespace std::chrono_literals;
using node::life;
using clock_type = std::chrono::steady_clock;

/// What somebody was told, and when.
class diary {
public:
  void write(life what) {
    const std::lock_guard hold(x_mutex);
    x_told.push_back({what, clock_type::now()});
    x_news.notify_all();
  }
  /// Waits up to 10 s for it; the time at which it was told.
  std::optional<clock_type::time_point> wait(life what) {
    std::unique_lock hold(x_mutex);
    const auto found = [&] {
      return std::ranges::find(x_told, what, &std::pair<life, clock_type::time_point>::first);
    };
    if (!x_news.wait_for(hold, 10s, [&] { return found() != x_told.end(); }))
      return std::nullopt;
    return found()->second;
  }
  std::vector<life> all() {
    const std::lock_guard hold(x_mutex);
    std::vector<life> told;
    for (const auto& each : x_told)
      told.push_back(each.first);
    return told;
  }

private:
  std::mutex x_mutex;
  std::condition_variable x_news;
  std::vector<std::pair<life, clock_type::time_point>> x_told;
};

struct pair_of_sides {
  explicit pair_of_sides(node::liveness_options how = {}, node::liveness_options eye_how = {})
      : eye(eye_how) {
    auto made = node::liveness_server::open(
        {"127.0.0.1", 0}, 11, how,
        [this](std::uint64_t, life what) { of_coordinator.write(what); },
        [this](std::uint64_t epoch, std::uint64_t join, actors::lease::time said) {
          if (epoch == 22 && join == 33)
            last_heard = said.count();
        });
    if (!made)
      FAIL(made.error().text);
    server = std::move(*made);
    between = std::make_unique<proxy>(server->port());
  }
  std::uint64_t watch(std::uint64_t incarnation = 11) {
    return eye.watch({"127.0.0.1", between->port()}, {incarnation, 22, 33},
                     [this](life what) { of_node.write(what); });
  }
  ~pair_of_sides() {
    server.reset();
  }
  diary of_node, of_coordinator;
  std::atomic<std::int64_t> last_heard{0}; ///< When the node said what the other has heard last.
  std::unique_ptr<node::liveness_server> server;
  std::unique_ptr<proxy> between;
  node::liveness_watch eye;
};

double ms_since(clock_type::time_point begin, std::optional<clock_type::time_point> end) {
  return end ? std::chrono::duration<double, std::milli>(*end - begin).count() : 1e9;
}

} // namespace

TEST_CASE("node liveness: a killed node is lost in 200 ms and a look, both sides notice",
          "[node]") {
  pair_of_sides of;
  of.watch();
  REQUIRE(of.of_node.wait(life::alive));
  REQUIRE(of.of_coordinator.wait(life::alive));
  const auto begin = clock_type::now();
  of.between->cut(true);
  const auto lost = ms_since(begin, of.of_node.wait(life::lost));
  CHECK(lost > 200);
  CHECK(lost < 1000); // 300 where nothing else runs
  CHECK(of.of_coordinator.wait(life::lost));
  CHECK(of.of_node.all().back() == life::lost);
}

TEST_CASE("node liveness: a connection that comes back within the window costs nothing",
          "[node]") {
  node::liveness_times slow;
  slow.reconnect_window = 5s;
  pair_of_sides of({{}, slow}, {{}, slow});
  of.watch();
  REQUIRE(of.of_node.wait(life::alive));
  for (int i = 0; i < 5; ++i) {
    of.between->cut();
    ::usleep(250'000);
  }
  for (const auto& told : {of.of_node.all(), of.of_coordinator.all()}) {
    REQUIRE_FALSE(told.empty());
    CHECK(told.back() == life::alive);
    CHECK(std::ranges::count(told, life::lost) == 0);
  }
}

TEST_CASE("node liveness: a coordinator that was lost and comes back is alive anew", "[node]") {
  pair_of_sides of;
  of.watch();
  REQUIRE(of.of_coordinator.wait(life::alive));
  of.between->cut(true);
  REQUIRE(of.of_coordinator.wait(life::lost));
  REQUIRE(of.of_node.wait(life::lost)); // for ever: whoever watches it again begins anew
  of.between->accept_again();
  of.watch();
  const auto both_are = [&](life what) {
    return of.of_coordinator.all().back() == what && of.of_node.all().back() == what;
  };
  for (int i = 0; i < 1'000 && !both_are(life::alive); ++i)
    ::usleep(10'000);
  CHECK(both_are(life::alive));
}

TEST_CASE("node liveness: a node that is heard no more is lost by 3.6 s, one way is enough",
          "[node]") {
  pair_of_sides of;
  of.watch();
  REQUIRE(of.of_node.wait(life::alive));
  const auto begin = clock_type::now();
  of.between->set(proxy::way::back, proxy::mood::hold);
  const auto suspect = ms_since(begin, of.of_node.wait(life::suspect));
  const auto lost = ms_since(begin, of.of_node.wait(life::lost));
  CHECK(suspect > 400);
  CHECK(lost > 3'200);
  CHECK(lost < 4'500); // 3,600 where nothing else runs
}

TEST_CASE("node liveness: a node knows until when it was heard, however well it hears", "[node]") {
  pair_of_sides of;
  of.between->delay(300ms);
  of.watch();
  REQUIRE(of.of_node.wait(life::alive));
  const auto moves_beyond = [&](std::int64_t when) {
    for (int i = 0; i < 1'000 && of.last_heard <= when; ++i)
      ::usleep(10'000);
    return of.last_heard > when;
  };
  CHECK(moves_beyond(actors::lease::now().count()));
  of.between->set(proxy::way::back, proxy::mood::hold);
  const auto muted = actors::lease::now().count();
  const auto lost = of.of_node.wait(life::lost);
  REQUIRE(lost);
  CHECK(of.last_heard <= muted);
  // So its lanes' lease was over so long before, however slow the network was.
  const auto since_then = actors::lease::now() - (clock_type::now() - *lost)
                          - std::chrono::nanoseconds{of.last_heard};
  CHECK(since_then > node::lease_length + node::last_write);
  CHECK(of.of_coordinator.all() == std::vector<life>{life::alive}); // whose beats came all the time
}

TEST_CASE("node liveness: another life of a node is not the one that is looked for", "[node]") {
  pair_of_sides of;
  const auto begin = clock_type::now();
  of.watch(12);
  CHECK(ms_since(begin, of.of_node.wait(life::lost)) < 2'000);
  CHECK(of.of_node.all() == std::vector<life>{life::lost});
  CHECK(of.of_coordinator.all().empty());
  CHECK(of.server->strangers() >= 1);
}

TEST_CASE("node liveness: doubled, lost and foreign bytes close a connection and nothing else",
          "[node]") {
  node::liveness_times slow;
  slow.reconnect_window = 5s;
  pair_of_sides of({{}, slow}, {{}, slow});
  of.watch();
  REQUIRE(of.of_node.wait(life::alive));
  for (const auto how : {proxy::mood::twice, proxy::mood::drop}) {
    of.between->set(proxy::way::there, how);
    ::usleep(300'000);
    of.between->set(proxy::way::there, proxy::mood::forward);
    ::usleep(300'000);
  }
  raw_peer stranger(of.server->port());
  stranger.say(noise(300, 4));
  CHECK(stranger.is_closed());
  CHECK(of.server->strangers() >= 1);
  of.between->delay(150ms); // late is not gone
  ::usleep(700'000);
  CHECK(of.of_node.all().back() == life::alive);
  CHECK(std::ranges::count(of.of_node.all(), life::lost) == 0);
}

TEST_CASE("node liveness: who connects and says nothing, or half a beat, is closed and counted",
          "[node]") {
  node::liveness_options brief;
  brief.times.lost_after = 300ms;
  pair_of_sides of(brief);
  raw_peer silent(of.server->port()), half(of.server->port());
  half.say("VIV");
  CHECK(silent.is_closed());
  CHECK(half.is_closed());
  for (int i = 0; i < 1'000 && of.server->strangers() < 2; ++i)
    ::usleep(10'000);
  CHECK(of.server->strangers() == 2);
  CHECK(of.of_coordinator.all().empty());
}

TEST_CASE("node liveness: with certificates, and not without", "[node]") {
  const temporary_folder folder;
  REQUIRE(node::make_certificates(folder / "ours", {.names = {"node"}}));
  REQUIRE(node::make_certificates(folder / "theirs", {.names = {"node"}}));
  const auto tls_of = [&](const char* whose) {
    return node::load_tls(node::tls_files_in(folder / whose / "node").value()).value();
  };
  pair_of_sides of({tls_of("ours"), {}}, {tls_of("ours"), {}});
  const auto number = of.watch();
  CHECK(of.of_node.wait(life::alive));
  of.eye.forget(number);
  CHECK(of.of_coordinator.wait(life::lost));
  CHECK(of.of_node.all() == std::vector<life>{life::alive}); // nobody asks any more
  node::liveness_times brief;
  brief.lost_after = 500ms;
  for (const auto& how : {node::liveness_options{tls_of("theirs"), brief}, {{}, brief}}) {
    diary told;
    node::liveness_watch stranger(how);
    stranger.watch({"127.0.0.1", of.server->port()}, {11, 33, 1},
                   [&told](life what) { told.write(what); });
    CHECK(told.wait(life::lost));
    CHECK(told.all() == std::vector<life>{life::lost});
  }
}

namespace {

/// Bytes over loopback as fast as it takes them, from a thread to another, until it goes.
class flood {
public:
  flood() {
    const int door = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof where;
    REQUIRE(::bind(door, reinterpret_cast<sockaddr*>(&where), sizeof where) == 0);
    REQUIRE(::listen(door, 1) == 0);
    REQUIRE(::getsockname(door, reinterpret_cast<sockaddr*>(&where), &size) == 0);
    x_from = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(::connect(x_from, reinterpret_cast<sockaddr*>(&where), sizeof where) == 0);
    x_to = ::accept(door, nullptr, nullptr);
    ::close(door);
    x_sends = std::thread([this] {
      const std::string much(1 << 20, 'x');
      while (::send(x_from, much.data(), much.size(), MSG_NOSIGNAL) > 0) {
      }
    });
    x_takes = std::thread([this] {
      std::string much(1 << 20, 'x');
      for (;;) {
        const auto got = ::recv(x_to, much.data(), much.size(), 0);
        if (got <= 0)
          return;
        x_bytes += static_cast<std::uint64_t>(got);
      }
    });
  }
  ~flood() {
    ::shutdown(x_from, SHUT_RDWR);
    ::shutdown(x_to, SHUT_RDWR);
    x_sends.join();
    x_takes.join();
    ::close(x_from);
    ::close(x_to);
  }
  std::uint64_t bytes() const {
    return x_bytes;
  }

private:
  int x_from = -1, x_to = -1;
  std::atomic<std::uint64_t> x_bytes{0};
  std::thread x_sends, x_takes;
};

} // namespace

TEST_CASE("node liveness: of a thousand beside a full link and full processors none is given up",
          "[.long]") {
  constexpr int rounds = 20, at_once = 50;
  flood links[4];
  std::atomic<int> alive{0}, wrong{0};
  for (int round = 0; round < rounds; ++round) {
    pair_of_sides of;
    node::liveness_watch eye;
    for (int i = 0; i < at_once; ++i)
      eye.watch({"127.0.0.1", of.server->port()}, {11, 22, 33 + static_cast<std::uint64_t>(i)},
                [&](life what) {
                  alive += what == life::alive ? 1 : 0;
                  wrong += what == life::lost ? 1 : 0;
                });
    ::poll(nullptr, 0, 5'000); // silence is judged within 3.6 s
    for (const auto told : of.of_coordinator.all())
      wrong += told == life::lost ? 1 : 0;
  }
  CHECK(alive >= rounds * at_once);
  CHECK(wrong == 0);
  for (const auto& each : links)
    CHECK(each.bytes() > 1ull << 30);
}
