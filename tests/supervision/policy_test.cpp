#include "supervision/policy.hpp"
#include "tests/support/catch.hpp"

#include <array>

using namespace viva::supervision;
using namespace std::chrono_literals;

namespace {
constexpr time_point t0{100s};
}

TEST_CASE("policy: what becomes of a child is OTP's table of three by three", "[policy]") {
  struct row { restart_type type; ending how; verdict what; };
  constexpr std::array<row, 9> rows{{
    {permanent, ending::normal, verdict::restart},
    {permanent, ending::shutdown, verdict::restart},
    {permanent, ending::abnormal, verdict::restart},
    {transient, ending::normal, verdict::keep_spec},
    {transient, ending::shutdown, verdict::keep_spec},
    {transient, ending::abnormal, verdict::restart},
    {temporary, ending::normal, verdict::drop_spec},
    {temporary, ending::shutdown, verdict::drop_spec},
    {temporary, ending::abnormal, verdict::drop_spec},
  }};
  for (const auto& [type, how, what] : rows)
    CHECK(judge(type, how) == what);
}

TEST_CASE("policy: each strategy reaches as far as its name says", "[policy]") {
  CHECK(reach_of(strategy::one_for_one) == reach::itself);
  CHECK(reach_of(strategy::simple_one_for_one) == reach::itself);
  CHECK(reach_of(strategy::rest_for_one) == reach::itself_and_later);
  CHECK(reach_of(strategy::one_for_all) == reach::everyone);
}

TEST_CASE("policy: a temporary sibling never rejoins, an unwanted one only if revived",
          "[policy]") {
  CHECK(rejoins(permanent, true, false));
  CHECK_FALSE(rejoins(transient, false, false));
  CHECK(rejoins(transient, false, true));
  CHECK_FALSE(rejoins(temporary, true, true));
}

TEST_CASE("policy: only significant children end a supervisor, and all means the last",
          "[policy]") {
  CHECK_FALSE(ends_supervisor(auto_shutdown::never, true, 0));
  CHECK_FALSE(ends_supervisor(auto_shutdown::any_significant, false, 0));
  CHECK(ends_supervisor(auto_shutdown::any_significant, true, 3));
  CHECK_FALSE(ends_supervisor(auto_shutdown::all_significant, true, 1));
  CHECK(ends_supervisor(auto_shutdown::all_significant, true, 0));
}

TEST_CASE("policy: the window admits intensity restarts and not one more", "[policy]") {
  for (const std::uint32_t intensity : {0u, 1u, 2u, 7u}) {
    restart_window window{intensity, 1000ms};
    for (std::uint32_t i = 0; i < intensity; ++i)
      CHECK(window.admit(t0 + i * 1ms));
    CHECK_FALSE(window.admit(t0 + 10ms));
  }
}

TEST_CASE("policy: a restart leaves the window one period later, to the millisecond", "[policy]") {
  restart_window window{2, 1000ms};
  CHECK(window.admit(t0));
  CHECK(window.admit(t0 + 400ms));
  SECTION("at the period it still counts") {
    CHECK_FALSE(window.admit(t0 + 1000ms));
  }
  SECTION("past it the oldest is gone, and only the oldest") {
    CHECK(window.admit(t0 + 1001ms));
    CHECK_FALSE(window.admit(t0 + 1400ms));
  }
  SECTION("the ring turns: a thousand spaced restarts never trip it") {
    for (int i = 2; i < 1000; ++i)
      REQUIRE(window.admit(t0 + i * 501ms));
  }
}

TEST_CASE("policy: S-28: in whole seconds a restart weighs for up to a second longer", "[policy]") {
  const auto late = time_point{100s + 999ms};
  restart_window ours{1, 1000ms};
  restart_window otp{1, 1000ms, true};
  CHECK(ours.admit(late - 999ms));
  CHECK(otp.admit(late - 999ms));
  // 1,900 ms apart: seconds 100 and 101 are one apart for OTP, which is not more than the period
  CHECK(ours.admit(time_point{101s + 900ms}));
  CHECK_FALSE(otp.admit(time_point{101s + 900ms}));
  CHECK(otp.admit(time_point{102s}));
}

TEST_CASE(
    "policy: the first restart is immediate, later ones wait at random below a cap that doubles",
    "[policy]") {
  const backoff_options options{50ms, 1000ms, 60s};
  std::minstd_rand random{7};
  std::array<milliseconds, 9> longest{};
  for (int run = 0; run < 2000; ++run) {
    backoff pace;
    for (auto& most : longest)
      most = std::max(most, pace.next(options, t0, t0 + 1s, random));
  }
  const std::array<milliseconds, 9> ceiling{0ms,   50ms,  100ms,  200ms, 400ms,
                                            800ms, 1000ms, 1000ms, 1000ms};
  for (std::size_t i = 0; i < ceiling.size(); ++i) {
    CHECK(longest[i] <= ceiling[i]);
    CHECK(longest[i] >= ceiling[i] * 95 / 100); // full jitter reaches up to its ceiling
  }
}

TEST_CASE("policy: full jitter reaches down to no delay at all", "[policy]") {
  std::minstd_rand random{7};
  milliseconds shortest = 1h;
  for (int run = 0; run < 2000; ++run) {
    backoff pace;
    pace.next({}, t0, t0, random);
    shortest = std::min(shortest, pace.next({}, t0, t0, random));
  }
  CHECK(shortest == 0ms);
}

TEST_CASE(
    "policy: a child that stayed healthy starts over, a failed attempt never counts as health",
    "[policy]") {
  const backoff_options options{1000ms, 1000ms, 60s};
  std::minstd_rand random{3};
  backoff pace;
  CHECK(pace.next(options, t0, t0 + 1s, random) == 0ms);
  CHECK(pace.next(options, t0, t0 + 60s, random) == 0ms);
  milliseconds waited{0};
  for (int i = 0; i < 20; ++i)
    waited += pace.next(options, time_point{}, t0 + 1000s, random);
  CHECK(waited > 1s);
}

TEST_CASE("policy: a base of zero turns delays off", "[policy]") {
  std::minstd_rand random{3};
  backoff pace;
  for (int i = 0; i < 100; ++i)
    CHECK(pace.next({0ms, 0ms, 1s}, t0, t0, random) == 0ms);
}

TEST_CASE("policy: the bucket gives its burst at once and then its rate", "[policy]") {
  start_bucket bucket{10, 3};
  CHECK(bucket.take(t0) == 0ms);
  CHECK(bucket.take(t0) == 0ms);
  CHECK(bucket.take(t0) == 0ms);
  CHECK(bucket.take(t0) == 100ms);
  CHECK(bucket.take(t0) == 200ms);
  CHECK(bucket.take(t0 + 250ms) == 50ms); // a token that was promised stays promised
  CHECK(bucket.take(t0 + 10s) == 0ms);
}
