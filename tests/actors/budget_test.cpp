#include "actors/pipeline/budget.hpp"
#include "tests/support/catch.hpp"

#include <algorithm>
#include <chrono>
#include <future>
#include <thread>
#include <vector>

using namespace viva;
using viva::actors::budget;
using namespace std::chrono_literals;

namespace {

std::shared_ptr<budget> of(std::uint64_t bytes, std::uint32_t tickets) {
  return std::make_shared<budget>(budget::amount{bytes, tickets}, 4);
}

} // namespace

TEST_CASE("budget: refuses by bytes and by tickets, and gives back") {
  const auto room = of(100, 2);
  auto a = room->admit({60, 1}, on_full::refuse, no_deadline);
  REQUIRE(a);
  CHECK(room->admit({41, 1}, on_full::refuse, no_deadline).error().code == errc::over_budget);
  auto b = room->admit({40, 1}, on_full::refuse, no_deadline);
  REQUIRE(b);
  CHECK(room->admit({0, 1}, on_full::refuse, no_deadline).error().code == errc::over_budget);
  a->end();
  CHECK(room->admit({60, 1}, on_full::refuse, no_deadline).has_value());
  CHECK(room->used().bytes == 40);
  CHECK(room->admit({101, 1}, on_full::block, no_deadline).error().code == errc::over_budget);
}

TEST_CASE("budget: first come, first served: small requests do not overtake a large one") {
  const auto room = of(100, 10);
  auto held = room->admit({50, 1}, on_full::refuse, no_deadline);
  std::vector<int> order;
  std::vector<expected<budget::lease>> given;
  const auto park = [&](std::uint64_t bytes, int number) {
    return room->park({bytes, 1}, [&, number](expected<budget::lease> got) {
      order.push_back(number);
      given.push_back(std::move(got));
    });
  };
  REQUIRE(park(90, 1));
  REQUIRE(park(10, 2)); // fits now, and waits behind
  CHECK(order.empty());
  CHECK(room->admit({1, 1}, on_full::refuse, no_deadline).error().code == errc::over_budget);
  held->end();
  CHECK(order == std::vector{1, 2});
  CHECK(room->used().bytes == 100);
  given.clear();
  CHECK(room->used().bytes == 0);
}

TEST_CASE("budget: who leaves waits no longer, and those behind it may fit") {
  const auto room = of(100, 10);
  auto held = room->admit({50, 1}, on_full::refuse, no_deadline);
  std::vector<int> order;
  std::vector<expected<budget::lease>> given;
  const auto park = [&](std::uint64_t bytes, int number) {
    return *room->park({bytes, 1}, [&, number](expected<budget::lease> got) {
      order.push_back(number);
      given.push_back(std::move(got));
    });
  };
  const auto large = park(90, 1);
  const auto small = park(10, 2);
  const auto last = park(80, 3);
  room->leave(large);
  CHECK(order == std::vector{2});
  room->leave(small); // admitted already
  room->leave(last);
  CHECK(room->waiting() == 0);
  held->end();
  CHECK(order == std::vector{2});
  given.clear();
  CHECK(room->used().bytes == 0);
}

TEST_CASE("budget: only so many may wait outside") {
  const auto room = of(1, 1);
  auto held = room->admit({1, 1}, on_full::refuse, no_deadline);
  std::vector<expected<budget::lease>> given;
  const auto park = [&] {
    return room->park({1, 1}, [&](expected<budget::lease> got) {
      given.push_back(std::move(got));
    });
  };
  for (int i = 0; i < 4; ++i)
    REQUIRE(park());
  CHECK(park().error().code == errc::over_budget);
  room->close({errc::interrupted, "closed"});
  CHECK(given.size() == 4);
  CHECK_FALSE(given[0]);
  CHECK(park().error().code == errc::interrupted);
}

TEST_CASE("budget: who blocks when it is closed is told why, and the first reason stands") {
  const auto room = of(100, 10);
  auto held = room->admit({100, 1}, on_full::refuse, no_deadline);
  std::jthread closer([&] {
    while (room->waiting() == 0)
      std::this_thread::yield();
    room->close({errc::fault, "first"});
    room->close({errc::interrupted, "second"});
  });
  CHECK(room->admit({50, 1}, on_full::block, no_deadline).error().text == "first");
  closer.join();
  CHECK(room->admit({50, 1}, on_full::block, no_deadline).error().text == "first");
}

TEST_CASE("budget: who blocks is let in, or times out without losing those behind") {
  const auto room = of(100, 10);
  auto held = room->admit({50, 1}, on_full::refuse, no_deadline);
  errc told = errc::ok;
  bool seen = false;
  // Longer where it was gone before anybody saw it wait.
  for (std::chrono::milliseconds limit = 20ms; !seen && limit < 60s; limit *= 2) {
    auto large = std::async(std::launch::async, [&] {
      const auto soon = std::chrono::steady_clock::now() + limit;
      const auto got = room->admit({90, 1}, on_full::block, soon);
      return got ? errc::ok : got.error().code;
    });
    while (!seen && large.wait_for(0s) == std::future_status::timeout)
      seen = room->waiting() != 0;
    if (seen) // after the large one left
      CHECK(room->admit({10, 1}, on_full::block, no_deadline).has_value());
    told = large.get();
  }
  CHECK(seen);
  CHECK(told == errc::timed_out);
  auto waits = std::async(std::launch::async, [&] {
    return room->admit({100, 1}, on_full::block, no_deadline).has_value();
  });
  while (room->waiting() == 0)
    std::this_thread::yield();
  held->end();
  CHECK(waits.get());
}

TEST_CASE("budget: many that wait and give their room back at once need no stack") {
  constexpr std::uint32_t many = 60'000;
  const auto room = std::make_shared<budget>(budget::amount{1, 1}, many);
  auto held = room->admit({1, 1}, on_full::refuse, no_deadline);
  REQUIRE(held);
  std::uint32_t told = 0, deep = 0, deepest = 0;
  for (std::uint32_t i = 0; i < many; ++i)
    REQUIRE(room->park({1, 1}, [&](expected<budget::lease> got) {
      deepest = std::max(deepest, ++deep);
      ++told;
      got->end();
      --deep;
    }));
  held->end();
  CHECK(told == many);
  CHECK(deepest == 1);
  CHECK(room->waiting() == 0);
  CHECK(room->used().tickets == 0);
  CHECK(room->admit({1, 1}, on_full::refuse, no_deadline).has_value());
}

TEST_CASE("budget: an admission that owns its lease may be its last owner") {
  const auto room = of(1, 1);
  auto held = room->admit({1, 1}, on_full::refuse, no_deadline);
  struct work {
    budget::lease mine;
  };
  auto owner = std::make_shared<work>();
  bool let_in = false;
  REQUIRE(room->park({1, 1}, [owner = std::move(owner), &let_in](expected<budget::lease> got) {
    owner->mine = std::move(*got);
    let_in = true;
  }));
  held->end(); // lets it in, and ends it
  CHECK(let_in);
  CHECK(room->used().bytes == 0);
}
