// What counts as a restart: not every end is a storm's.

#include "supervision/death.hpp"
#include "tests/support/world.hpp"

using namespace viva::supervision;
using namespace viva::supervision::testing;
using namespace std::chrono_literals;

namespace {

/// Ends child `a` so again and again, waiting out the backoff each time; how often until its
/// supervisor gave up, or `most`.
int ends_until_given_up(world& w, const caf::error& why, int most) {
  for (int i = 0; i < most; ++i) {
    w.end(w.child("a"), why);
    if (w.ended)
      return i + 1;
    w.pass(10ms);
  }
  return most;
}

supervisor_options patient(std::uint32_t intensity) {
  return {.intensity = intensity, .period = 1h, .backoff = {1ms, 10ms, 60s}};
}

} // namespace

TEST_CASE("counting: each reason counts as the table says", "[counting]") {
  struct row {
    fault why;
    tally counted;
  };
  constexpr row rows[] = {
    {fault::exception, tally::restart},     {fault::shutdown, tally::restart},
    {fault::crash, tally::restart},         {fault::aborted, tally::restart},
    {fault::hang, tally::restart},          {fault::stalled, tally::restart},
    {fault::protocol, tally::restart},      {fault::early_exit, tally::restart},
    {fault::killed, tally::restart},        {fault::device_sticky, tally::restart},
    {fault::misconfigured, tally::restart}, {fault::exit_code, tally::restart},
    {fault::start_failed, tally::restart},  {fault::oom, tally::memory},
    {fault::device_lost, tally::none},      {fault::bad_input, tally::none},
    {fault::io, tally::none},               {fault::temporary, tally::none},
    {fault::fenced, tally::none}};
  for (const auto& [why, counted] : rows) {
    INFO(to_string(why));
    CHECK(counted_as(make_error(why, "words")) == counted);
  }
  CHECK(counted_as({}) == tally::restart); // S-16: a permanent child that ends normally counts
  CHECK(counted_as(caf::exit_reason::kill) == tally::restart);
  CHECK(counted_as(caf::sec::runtime_error) == tally::restart);
}

TEST_CASE("counting: what another try may mend ends no supervisor, however often", "[counting]") {
  namespace words = exit_words;
  for (const int code : {words::device_lost, words::bad_input, words::io, words::temporary,
                         words::fenced}) {
    world w;
    w.rise(patient(1), {member("a", w.book)});
    const auto why = judge_death({true, code}, {});
    INFO(to_text(why));
    CHECK(ends_until_given_up(w, why, 20) == 20);
    CHECK_FALSE(w.ended);
    CHECK(ends_until_given_up(w, abnormal_reason, 5) == 2); // those that count still do
  }
}

TEST_CASE("counting: it still waits as long as any other", "[counting]") {
  world w;
  w.rise({.intensity = 1, .backoff = {10s, 10s, 60s}}, {member("a", w.book)});
  w.end(w.child("a"), make_error(fault::io));
  CHECK(w.state("a") == life::up); // the first comes back at once
  w.end(w.child("a"), make_error(fault::io));
  CHECK(w.state("a") == life::restarting);
  w.pass(10s);
  CHECK(w.state("a") == life::up);
}

TEST_CASE("counting: a start for which the system has too little now is tried for as long as it "
          "takes",
          "[counting]") {
  world w;
  auto attempts = std::make_shared<int>(0);
  w.rise(patient(1), {{.id = "a", .start = [=, book = w.book](auto* sup) -> start_result {
                         const int attempt = ++*attempts;
                         if (attempt > 1 && attempt < 50)
                           return make_error(fault::temporary, "no descriptor");
                         return spawn(sup, obedient, book, "a");
                       }}});
  w.crash("a");
  w.pass(1s);
  CHECK(*attempts == 50);
  CHECK(w.state("a") == life::up);
}

TEST_CASE("counting: ends for want of memory have an intensity of their own", "[counting]") {
  world w;
  w.rise(patient(3), {member("a", w.book)});
  const auto oom = make_error(fault::oom, "exit 76");
  CHECK(ends_until_given_up(w, oom, 3) == 3);
  CHECK(ends_until_given_up(w, abnormal_reason, 3) == 3);
  CHECK_FALSE(w.ended);
  SECTION("one more of them is too many") {
    CHECK(ends_until_given_up(w, oom, 2) == 1);
    REQUIRE(w.ended);
    CHECK(refused(*w.ended, fault::intensity, "a: oom: exit 76"));
  }
  SECTION("one more of the others, too") {
    CHECK(ends_until_given_up(w, abnormal_reason, 2) == 1);
    REQUIRE(w.ended);
    CHECK(refused(*w.ended, fault::intensity, "a: exception: abnormal"));
  }
}

TEST_CASE("counting: in OTP, and where no backoff holds a loop up, every end counts",
          "[counting]") {
  const auto options
    = GENERATE(true, false)
        ? otp_compat({.intensity = 2, .period = 1h, .count_by_reason = true})
        : supervisor_options{.intensity = 2, .period = 1h, .backoff = {0ms, 0ms, 1s}};
  for (const auto why : {fault::io, fault::oom, fault::temporary}) {
    world w;
    w.rise(options, {member("a", w.book)});
    CHECK(ends_until_given_up(w, make_error(why), 9) == 3);
  }
}

TEST_CASE("otp_compat gives up the retries of first starts, and no bucket holds a restart up",
          "[counting]") {
  world w;
  auto starts = std::make_shared<int>(0);
  w.rise(otp_compat({.intensity = 9, .start_retries = 3}),
         {{.id = "a", .start = [=](auto*) -> start_result {
             ++*starts;
             return make_error(fault::killed, "SIGKILL");
           }}});
  CHECK(w.ended);
  CHECK(*starts == 1);
  // Neither its own nor its parent's, which a supervisor would inherit.
  auto dry = std::make_shared<shared_bucket>(1, 1);
  for (int i = 0; i < 100; ++i)
    dry->take(w.scheduler.clock().now());
  world v;
  const auto a = member("a", v.book);
  v.rise({.bucket = dry},
         {{.id = "s",
           .start = [=](auto* sup) -> start_result {
             return starting(spawn_supervisor(sup, otp_compat({.bucket = dry}), {a}));
           },
           .type = child_type::supervisor}});
  caf::anon_send(v.registry->find("supervisor/a"), throw_now{"boom"});
  v.settle();
  CHECK(v.told() == "+a -a +a");
}
