// Who lives: the policy on a clock that a test moves.

#include "actors/node/liveness_policy.hpp"

#include "tests/support/catch.hpp"

namespace {

using namespace std::chrono_literals;
using viva::actors::node::life;
using viva::actors::node::liveness_policy;

struct story {
  std::chrono::steady_clock::time_point now{};
  liveness_policy policy{{}, now};
  life at = life::waiting;

  /// Looks each 100 ms, beats with each look where there are any.
  void pass(std::chrono::milliseconds time, bool beats) {
    for (; time > 0ms; time -= 100ms) {
      now += 100ms;
      if (beats)
        policy.heard(now);
      at = policy.look(now);
    }
  }
  /// From now on it says nothing.
  std::chrono::milliseconds until_lost() {
    const auto begin = now;
    while (at != life::lost)
      pass(100ms, false);
    return std::chrono::duration_cast<std::chrono::milliseconds>(now - begin);
  }
};

} // namespace

TEST_CASE("node liveness: silence is suspect after 500 ms and lost by 3.6 s, for ever", "[node]") {
  story of;
  of.pass(1s, true);
  CHECK(of.at == life::alive);
  of.pass(500ms, false);
  CHECK(of.at == life::alive);
  of.pass(100ms, false);
  CHECK(of.at == life::suspect);
  of.pass(100ms, true); // it was only slow
  CHECK(of.at == life::alive);
  of.pass(3'400ms, false);
  CHECK(of.at == life::suspect);
  of.pass(100ms, false);
  CHECK(of.at == life::lost);
  of.pass(1s, true);
  CHECK(of.at == life::lost);
}

TEST_CASE("node liveness: a broken connection may come back within 200 ms", "[node]") {
  story of;
  of.pass(1s, true);
  of.policy.broken(of.now);
  of.pass(100ms, false);
  CHECK(of.at == life::suspect);
  of.policy.broken(of.now); // an attempt that failed does not begin the time anew
  of.pass(100ms, false);
  CHECK(of.at == life::suspect);
  of.pass(100ms, true);
  CHECK(of.at == life::alive);
  of.policy.broken(of.now);
  of.pass(300ms, false);
  CHECK(of.at == life::lost);
}

TEST_CASE("node liveness: who was not running itself blames nobody", "[node]") {
  story of;
  of.pass(1s, true);
  of.now += 10s; // SIGSTOP
  CHECK(of.policy.look(of.now) == life::alive);
  of.pass(3'300ms, false);
  CHECK(of.at == life::suspect);
  of.pass(200ms, false); // and is not blind afterwards
  CHECK(of.at == life::lost);
  story early; // what was said meanwhile is read before the look that is late
  early.pass(1s, true);
  early.now += 10s;
  early.policy.heard(early.now);
  CHECK(early.policy.look(early.now) == life::alive);
  CHECK(early.until_lost() == 3'500ms);
}

TEST_CASE("node liveness: of breaks beside a pause of one's own those found on waking are excused",
          "[node]") {
  enum class found { before, on_waking, after };
  // When it is found, how long before or after; how long after waking or, where that is later,
  // after the break the peer is given up where it does not come back.
  struct row { found when; std::chrono::milliseconds by, given_up; };
  for (const auto& [when, by, given_up] : {
         row{found::before, 0ms, 200ms},    // as without a pause, which is not counted
         row{found::before, 100ms, 100ms},  // what had passed of its window has passed
         row{found::before, 200ms, 0ms},
         row{found::on_waking, 0ms, 3'400ms}, // the peer let go of one that stood still
         row{found::after, 0ms, 3'400ms},
         row{found::after, 1'900ms, 3'500ms}, // it was heard until then
         row{found::after, 2'000ms, 300ms},   // its own affair
         row{found::after, 7'000ms, 300ms}}) {
    CAPTURE(static_cast<int>(when), by.count());
    story of;
    of.pass(1s, true);
    if (when == found::before) {
      of.policy.broken(of.now);
      of.pass(by, false);
    }
    of.now += 10s;
    if (when == found::on_waking)
      of.policy.broken(of.now);
    of.at = of.policy.look(of.now);
    if (when == found::after) {
      of.pass(by, true);
      of.policy.broken(of.now);
    }
    CHECK(of.until_lost() == given_up);
  }
  story back; // and where it comes back in that time nobody was lost
  back.pass(1s, true);
  back.now += 10s;
  back.policy.broken(back.now);
  back.at = back.policy.look(back.now);
  back.pass(3'000ms, false);
  CHECK(back.at == life::suspect);
  back.pass(100ms, true);
  CHECK(back.at == life::alive);
}

TEST_CASE("node liveness: nobody who never answered is alive", "[node]") {
  story of;
  of.policy.broken(of.now);
  of.pass(3'400ms, false);
  CHECK(of.at == life::waiting);
  of.pass(100ms, false);
  CHECK(of.at == life::lost);
}
