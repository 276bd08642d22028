#include "tests/support/world.hpp"

using namespace viva::supervision;
using namespace viva::supervision::testing;
using namespace std::chrono_literals;

namespace {

child_spec failing(std::string id, caf::error why = make_error(fault::exception, "no luck")) {
  return {.id = std::move(id), .start = [=](auto*) -> start_result { return why; }};
}

child_spec ignoring(std::string id, restart_type restart) {
  return {.id = std::move(id), .start = [](auto*) -> start_result { return ignore; },
          .restart = restart};
}

// Up only when told so: answers `await_up` once it has heard `true`, refuses it on `false`.
caf::behavior slow(caf::event_based_actor* self) {
  auto waiting = std::make_shared<caf::response_promise>();
  return {
    [=](await_up) { return *waiting = self->make_response_promise(); },
    [=](bool well) {
      if (well)
        waiting->deliver(caf::unit);
      else
        waiting->deliver(make_error(fault::exception, "not today"));
    },
    [=](end_now& how) { self->quit(how.reason); },
  };
}

child_spec slow_member(std::string id, std::shared_ptr<caf::actor> handle) {
  return {.id = std::move(id), .start = [=](auto* sup) -> start_result {
            *handle = spawn(sup, slow);
            return starting(*handle);
          }};
}

} // namespace

TEST_CASE("S-01: a supervisor starts its children and ends as shutdown when it is stopped",
          "[start]") {
  world w;
  w.rise({}, {member("a", w.book)});
  CHECK(w.ask(await_up{}));
  CHECK(w.told() == "+a");
  CHECK(w.ask(stop{}));
  REQUIRE(w.ended);
  CHECK(*w.ended == shutdown_reason);
  CHECK(w.told() == "-a");
}

TEST_CASE("S-02: an init that says ignore ends normally and is no failure", "[start]") {
  world w;
  w.watch(spawn_supervisor(w.system, [] { return init_result{ignore}; }));
  REQUIRE(w.ended);
  CHECK(ending_of(*w.ended) == ending::normal);
  // as a child it is kept in the table, undefined
  world v;
  v.rise({}, {{.id = "inner",
               .start = [](auto* sup) -> start_result {
                 return starting(spawn_supervisor(sup, [] { return init_result{ignore}; }));
               },
               .type = child_type::supervisor}});
  CHECK(v.state("inner") == life::down);
  CHECK(v.ask(await_up{}));
}

TEST_CASE("S-03: an init that returns rubbish is an error that names it", "[start]") {
  world w;
  w.watch(spawn_supervisor(w.system, [] { return blueprint{{.period = 0ms}, {}}; }));
  REQUIRE(w.ended);
  CHECK(refused(*w.ended, fault::bad_options, "invalid_period"));
}

TEST_CASE("S-04: an init that throws is the start's error and nobody else's crash", "[start]") {
  world w;
  w.watch(
      spawn_supervisor(w.system, []() -> init_result { throw std::runtime_error("init broke"); }));
  REQUIRE(w.ended);
  CHECK(refused(*w.ended, fault::exception, "init broke"));
}

TEST_CASE("S-05: children start in list order, and none before the one ahead of it is up",
          "[start]") {
  world w;
  auto handle = std::make_shared<caf::actor>();
  w.rise({}, {member("a", w.book), slow_member("b", handle), member("c", w.book)});
  CHECK(w.told() == "+a");
  CHECK(w.state("b") == life::starting);
  CHECK(w.state("c") == life::down);
  caf::anon_send(*handle, true);
  w.settle();
  CHECK(w.told() == "+c");
  CHECK(w.state("b") == life::up);
  CHECK(w.ask(await_up{}));
  *handle = nullptr;
}

TEST_CASE("S-05: a child that never says it is up fails the start when its time is over",
          "[start]") {
  world w;
  auto handle = std::make_shared<caf::actor>();
  auto spec = slow_member("b", handle);
  spec.start_timeout = 250ms;
  w.rise({}, {member("a", w.book), spec});
  w.pass(249ms);
  CHECK_FALSE(w.ended);
  *handle = nullptr;
  w.pass(1ms);
  REQUIRE(w.ended);
  CHECK(refused(*w.ended, fault::start_failed, "b: start_timed_out"));
  CHECK(w.told() == "+a -a");
}

TEST_CASE("S-05: a child that refuses or dies before it is up fails the start with its reason",
          "[start]") {
  world w;
  auto handle = std::make_shared<caf::actor>();
  w.rise({}, {slow_member("b", handle)});
  SECTION("refuses") {
    caf::anon_send(*handle, false);
    w.settle();
    REQUIRE(w.ended);
    CHECK(refused(*w.ended, fault::start_failed, "not today"));
  }
  SECTION("dies") {
    w.end(*handle, make_error(fault::exception, "stillborn"));
    REQUIRE(w.ended);
    CHECK(refused(*w.ended, fault::start_failed, "stillborn"));
  }
  *handle = nullptr;
}

TEST_CASE("S-05: a first start that failed by accident is tried again, so many times", "[start]") {
  world w;
  auto starts = std::make_shared<int>(0);
  const auto dies_until = [&](std::string id, int well, caf::error why) {
    return child_spec{.id = std::move(id), .start = [=, &w](auto* sup) -> start_result {
      if (++*starts < well)
        return why;
      w.book->push_back("+b");
      return spawn(sup, obedient, w.book, "b");
    }};
  };
  supervisor_options options;
  options.intensity = 10;
  options.start_retries = 3;
  const auto killed = make_error(fault::killed, "SIGKILL");
  SECTION("the boot goes on in order") {
    w.rise(options, {member("a", w.book), dies_until("b", 4, killed), member("c", w.book)});
    w.pass(1s);
    CHECK_FALSE(w.ended);
    CHECK(*starts == 4);
    CHECK(w.told() == "+a +b +c");
    CHECK(w.ask(await_up{}));
  }
  SECTION("one more is too many") {
    w.rise(options, {member("a", w.book), dies_until("b", 5, killed)});
    w.pass(1s);
    REQUIRE(w.ended);
    CHECK(*starts == 4);
    CHECK(refused(*w.ended, fault::start_failed, "b: killed: SIGKILL"));
  }
  SECTION("they count as restarts") {
    options.intensity = 2;
    w.rise(options, {dies_until("b", 4, killed)});
    w.pass(1s);
    REQUIRE(w.ended);
    CHECK(refused(*w.ended, fault::intensity, "b: killed: SIGKILL"));
  }
  SECTION("another build stays another build") {
    w.rise(options, {dies_until("b", 2, make_error(fault::misconfigured, "old"))});
    REQUIRE(w.ended);
    CHECK(*starts == 1);
    CHECK(refused(*w.ended, fault::start_failed, "misconfigured"));
  }
}

TEST_CASE("S-06: a start function may return ok, ok with info, ignore, an error, or throw",
          "[start]") {
  world w;
  w.rise({}, {});
  auto info = w.ask<started>(start_child{{.id = "info", .start = [&](auto* sup) -> start_result {
    return started{spawn(sup, obedient, w.book, "info"), caf::make_message(std::string{"42"})};
  }}});
  REQUIRE(info);
  CHECK(info->info.get_as<std::string>(0) == "42");
  CHECK(w.ask<started>(start_child{member("ok", w.book)})->who);
  CHECK_FALSE(w.ask<started>(start_child{ignoring("ignore", permanent)})->who);
  CHECK(refused(w.ask<started>(start_child{failing("error")}).error(), fault::start_failed,
                "no luck"));
  auto thrown = w.ask<started>(start_child{
    {.id = "throw", .start = [](auto*) -> caf::actor { throw std::runtime_error("ouch"); }}});
  CHECK(refused(thrown.error(), fault::start_failed, "ouch"));
  auto null =
      w.ask<started>(start_child{{.id = "null", .start = [](auto*) { return caf::actor{}; }}});
  CHECK(refused(null.error(), fault::start_failed, "bad_return"));
  // passed on by restart_child, dropped by an automatic restart
  CHECK(w.ask(terminate_child{"info"}));
  CHECK(w.ask<started>(restart_child{"info"})->info.get_as<std::string>(0) == "42");
  w.crash("info");
  CHECK(w.state("info") == life::up);
}

TEST_CASE("S-06: what an earlier start told is not told of a later one that tells nothing",
          "[start]") {
  world w;
  auto starts = std::make_shared<int>(0);
  w.rise({.backoff = {0ms, 0ms, 1s}},
         {{.id = "a", .start = [=, book = w.book](auto* sup) -> start_result {
             if (++*starts < 3) // the first at boot, the second after a crash: nobody asked
               return started{spawn(sup, obedient, book, "a"),
                              caf::make_message(std::string{"42"})};
             return starting(spawn(sup, [](caf::event_based_actor*) -> caf::behavior {
               return {[](await_up) { return caf::unit; }};
             }));
           }}});
  w.crash("a");
  CHECK(w.ask(terminate_child{"a"}));
  const auto again = w.ask<started>(restart_child{"a"});
  REQUIRE(again);
  CHECK(again->who);
  CHECK(again->info.empty());
}

TEST_CASE("S-07: an ignored permanent or transient child keeps its spec and the start goes on",
          "[start]") {
  world w;
  w.rise({}, {ignoring("p", permanent), ignoring("t", transient), member("c", w.book)});
  CHECK(w.state("p") == life::down);
  CHECK(w.state("t") == life::down);
  CHECK(w.told() == "+c");
  const auto counts = w.count();
  CHECK(counts.specs == 3);
  CHECK(counts.active == 1);
}

TEST_CASE("S-07: an ignored temporary child leaves no spec, from the list or from start_child",
          "[start]") {
  world w;
  w.rise({}, {ignoring("t", temporary)});
  CHECK(w.count().specs == 0);
  CHECK_FALSE(w.ask<started>(start_child{ignoring("u", temporary)})->who);
  CHECK(w.count().specs == 0);
}

TEST_CASE("S-07: under simple_one_for_one an ignored child is never kept, and the stop still works",
          "[start]") {
  for (const auto type : {permanent, temporary}) {
    world w;
    w.rise({.how = strategy::simple_one_for_one}, {ignoring("t", type)});
    auto answer = w.ask<started>(start_instance{});
    REQUIRE(answer);
    CHECK_FALSE(answer->who);
    CHECK(w.count().workers == 0);
    CHECK(w.ask(stop{}));
    CHECK(*w.ended == shutdown_reason);
  }
}

TEST_CASE("S-08: when a child cannot start, the earlier ones stop in reverse and the start fails",
          "[start]") {
  world w;
  w.rise({}, {member("a", w.book), member("b", w.book), failing("c"), member("d", w.book)});
  CHECK(w.told() == "+a +b -b -a");
  REQUIRE(w.ended);
  CHECK(refused(*w.ended, fault::start_failed, "c: exception: no luck"));
}

TEST_CASE("S-08: a nested supervisor's failed start is the error of the one above it", "[start]") {
  world w;
  w.rise({}, {member("a", w.book),
              {.id = "inner", .start = [](auto* sup) -> start_result {
                 return starting(spawn_supervisor(sup, {}, {failing("deep")}));
               }, .type = child_type::supervisor}});
  REQUIRE(w.ended);
  CHECK(refused(*w.ended, fault::start_failed, "deep: exception: no luck"));
  CHECK(w.told() == "+a -a");
}

TEST_CASE("S-09: flags default to one_for_one, intensity 1 in 5 s, no auto_shutdown", "[start]") {
  const supervisor_options options;
  CHECK(options.how == strategy::one_for_one);
  CHECK(options.intensity == 1);
  CHECK(options.period == 5s);
  CHECK(options.ends == auto_shutdown::never);
  world w;
  w.rise({}, {});
  CHECK(w.ask<supervisor_options>(get_options{})->intensity == 1);
}

TEST_CASE("S-10: bad flags are refused by name", "[start]") {
  const auto bad = [](auto change) {
    supervisor_options options;
    change(options);
    return check(options);
  };
  CHECK(refused(bad([](auto& o) { o.how = strategy{9}; }), fault::bad_options, "invalid_strategy"));
  CHECK(refused(bad([](auto& o) { o.period = 0ms; }), fault::bad_options, "invalid_period"));
  CHECK(refused(bad([](auto& o) { o.period = -1ms; }), fault::bad_options, "invalid_period"));
  CHECK(refused(bad([](auto& o) { o.ends = auto_shutdown{3}; }), fault::bad_options,
                "invalid_auto_shutdown"));
  CHECK(refused(bad([](auto& o) { o.backoff.cap = 1ms; }), fault::bad_options, "invalid_backoff"));
  CHECK(refused(bad([](auto& o) { o.name = ""; }), fault::bad_options, "missing_name"));
  CHECK_FALSE(bad([](auto& o) { o.intensity = 0; }));
}

TEST_CASE("S-11: specs default to a permanent worker with 5 s to go, supervisors have for ever",
          "[start]") {
  world w;
  auto inner = member("s", w.book);
  inner.type = child_type::supervisor;
  w.rise({}, {member("w", w.book), inner});
  const auto plain = w.ask<child_spec>(get_childspec{"w"});
  REQUIRE(plain);
  CHECK(plain->restart == permanent);
  CHECK(plain->type == child_type::worker);
  CHECK(*plain->shutdown == shutdown_policy::after(5s));
  CHECK_FALSE(plain->significant);
  CHECK(*w.ask<child_spec>(get_childspec{"s"})->shutdown == shutdown_policy::infinity());
}

TEST_CASE("S-12: bad specs are refused by name", "[start]") {
  world w;
  const auto bad = [&](auto change) {
    auto spec = member("a", w.book);
    change(spec);
    return check(spec, auto_shutdown::any_significant);
  };
  CHECK(refused(bad([](auto& s) { s.id.clear(); }), fault::bad_spec, "missing_id"));
  CHECK(refused(bad([](auto& s) { s.start = {}; }), fault::bad_spec, "missing_start"));
  CHECK(refused(bad([](auto& s) { s.restart = restart_type{7}; }), fault::bad_spec,
                "invalid_restart_type"));
  CHECK(
      refused(bad([](auto& s) { s.type = child_type{7}; }), fault::bad_spec, "invalid_child_type"));
  CHECK(refused(bad([](auto& s) { s.shutdown = shutdown_policy::after(-1ms); }), fault::bad_spec,
                "invalid_shutdown"));
  CHECK(refused(bad([](auto& s) { s.start_timeout = -1ms; }), fault::bad_spec,
                "invalid_start_timeout"));
  CHECK_FALSE(bad([](auto&) {}));
  w.rise({}, {member("a", w.book), member("a", w.book)});
  REQUIRE(w.ended);
  CHECK(refused(*w.ended, fault::bad_spec, "duplicate_child_name a"));
}

TEST_CASE("S-13: significant needs an auto_shutdown and a child that may end", "[start]") {
  world w;
  for (const auto mode : {auto_shutdown::never, auto_shutdown::any_significant,
                          auto_shutdown::all_significant})
    for (const auto type : {permanent, transient, temporary}) {
      auto spec = member("a", w.book, type);
      spec.significant = true;
      const bool fine = mode != auto_shutdown::never && type != permanent;
      CHECK(fine == !check(spec, mode));
      if (!fine)
        CHECK(refused(check(spec, mode), fault::bad_spec, "bad_combination"));
    }
}

TEST_CASE("S-14: simple_one_for_one wants exactly one spec", "[start]") {
  world w;
  for (const std::size_t count : {0u, 2u}) {
    std::vector<child_spec> specs;
    for (std::size_t i = 0; i < count; ++i)
      specs.push_back(member(std::to_string(i), w.book));
    CHECK(refused(check_childspecs(specs, strategy::simple_one_for_one, auto_shutdown::never),
                  fault::bad_spec, "bad_start_spec"));
  }
}

TEST_CASE("S-15: specs can be checked without starting anything", "[start]") {
  world w;
  std::vector<child_spec> specs{member("a", w.book), member("b", w.book)};
  CHECK_FALSE(check_childspecs(specs, strategy::rest_for_one, auto_shutdown::never));
  CHECK(specs[0].shutdown.has_value()); // defaults are filled in
  CHECK(w.told().empty());
}
