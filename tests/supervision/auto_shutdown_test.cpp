#include "tests/support/world.hpp"

using namespace viva::supervision;
using namespace viva::supervision::testing;
using namespace std::chrono_literals;

namespace {

child_spec significant(std::string id, const world& w, restart_type type) {
  auto spec = member(std::move(id), w.book, type);
  spec.significant = true;
  return spec;
}

constexpr auto any = auto_shutdown::any_significant;
constexpr auto all = auto_shutdown::all_significant;

} // namespace

TEST_CASE("S-47: children that are not significant never end the supervisor", "[auto_shutdown]") {
  for (const auto mode : {auto_shutdown::never, any, all})
    for (const auto type : {temporary, transient}) {
      world w;
      w.rise({.intensity = 9, .ends = mode},
             {member("a", w.book, type), member("b", w.book, type)});
      w.end(w.child("a"), {});
      w.crash("b");
      CHECK_FALSE(w.ended);
    }
}

TEST_CASE("S-48: any: a significant temporary child ends it by any end", "[auto_shutdown]") {
  for (const auto& reason : {caf::error{}, shutdown_reason, abnormal_reason,
                             caf::error{caf::exit_reason::kill}}) {
    world w;
    w.rise({.ends = any}, {significant("a", w, temporary), member("b", w.book)});
    w.told();
    w.end(w.child("a"), reason);
    REQUIRE(w.ended);
    CHECK(*w.ended == shutdown_reason);
    CHECK(w.told() == "-a -b");
  }
}

TEST_CASE("S-48: any: a significant transient child ends it by a normal end", "[auto_shutdown]") {
  for (const auto& reason : {caf::error{}, shutdown_reason}) {
    world w;
    w.rise({.ends = any}, {significant("a", w, transient), significant("b", w, transient)});
    w.end(w.child("a"), reason);
    CHECK(w.ended);
  }
}

TEST_CASE("S-48: any: so it does where siblings are being restarted meanwhile", "[auto_shutdown]") {
  for (const auto type : {transient, temporary}) {
    world w;
    auto slow = member("slow", w.book);
    slow.shutdown = shutdown_policy::after(100ms);
    w.rise({.how = strategy::one_for_all, .ends = any},
           {member("a", w.book), significant("ends", w, type), slow});
    const auto ends = w.child("ends");
    caf::anon_send(w.child("slow"), be_deaf{});
    w.crash("a"); // waits for slow, which is stopped first
    w.end(ends, {});
    w.pass(100ms);
    CHECK(w.ended);
  }
}

TEST_CASE("S-49: a significant transient child that crashes is restarted", "[auto_shutdown]") {
  for (const auto mode : {any, all}) {
    world w;
    w.rise({.ends = mode}, {significant("a", w, transient)});
    w.crash("a");
    CHECK_FALSE(w.ended);
    CHECK(w.state("a") == life::up);
  }
}

TEST_CASE("S-50: all: only the last significant child ends it", "[auto_shutdown]") {
  for (const auto type : {temporary, transient}) {
    world w;
    w.rise({.ends = all},
           {significant("a", w, type), member("b", w.book), significant("c", w, type)});
    w.end(w.child("a"), {});
    CHECK_FALSE(w.ended);
    w.end(w.child("c"), {});
    CHECK(w.ended);
  }
}

TEST_CASE("S-50: all: a significant child that waits for its restart is not gone",
          "[auto_shutdown]") {
  world w;
  w.rise({.intensity = 9, .ends = all, .backoff = {10s, 10s, 1h}},
         {significant("a", w, transient), significant("b", w, transient)});
  w.crash("a");
  w.crash("a");
  REQUIRE(w.state("a") == life::restarting);
  w.end(w.child("b"), {});
  CHECK_FALSE(w.ended);
}

TEST_CASE("S-50: all: nor is one that a group restart has stopped and will start again",
          "[auto_shutdown]") {
  world w;
  w.rise({.how = strategy::rest_for_one, .intensity = 9, .ends = all, .backoff = {10s, 10s, 1h}},
         {significant("s", w, transient), member("a", w.book), significant("b", w, transient)});
  w.crash("a");
  w.crash("a"); // waits for its restart, and b with it
  REQUIRE(w.state("a") == life::restarting);
  REQUIRE(w.state("b") == life::down);
  w.end(w.child("s"), {});
  REQUIRE_FALSE(w.ended);
  w.pass(10s);
  CHECK(w.state("b") == life::up);
  SECTION("then its end is the supervisor's") {
    w.end(w.child("b"), {});
    CHECK(w.ended);
  }
  SECTION("and so it is where it is stopped by hand and another one ends") {
    w.crash("a");
    REQUIRE(w.state("a") == life::restarting);
    REQUIRE(w.ask(terminate_child{"b"})); // it is not on its way back any more
    REQUIRE(w.ask<started>(start_child{significant("other", w, temporary)}));
    w.end(w.child("other"), {});
    CHECK(w.ended);
  }
}

TEST_CASE("S-51: terminate_child does not end the supervisor", "[auto_shutdown]") {
  for (const auto mode : {any, all})
    for (const auto type : {temporary, transient}) {
      world w;
      w.rise({.ends = mode}, {significant("a", w, type)});
      REQUIRE(w.ask(terminate_child{"a"}));
      CHECK_FALSE(w.ended);
    }
}

TEST_CASE("S-52: being stopped as a sibling does not end the supervisor", "[auto_shutdown]") {
  for (const auto mode : {any, all})
    for (const auto how : {strategy::one_for_all, strategy::rest_for_one})
      for (const auto type : {temporary, transient}) {
        world w;
        w.rise({.how = how, .ends = mode}, {member("a", w.book), significant("b", w, type)});
        w.crash("a");
        CHECK_FALSE(w.ended);
        CHECK(w.state("a") == life::up);
      }
}

TEST_CASE("S-53: auto_shutdown works under simple_one_for_one", "[auto_shutdown]") {
  for (const auto mode : {any, all}) {
    world w;
    w.rise({.how = strategy::simple_one_for_one, .ends = mode}, {significant("a", w, transient)});
    const auto x = w.ask<started>(start_instance{})->who;
    const auto y = w.ask<started>(start_instance{})->who;
    w.end(x, {});
    CHECK(w.ended.has_value() == (mode == any));
    if (mode == all)
      w.end(y, {});
    CHECK(w.ended);
  }
}

TEST_CASE("S-54: a significant supervisor carries the end upwards, another one does not",
          "[auto_shutdown]") {
  for (const bool carries : {true, false}) {
    world w;
    const auto leaf = significant("leaf", w, temporary);
    w.rise({.ends = any}, {{.id = "s", .start = [=](auto* sup) -> start_result {
      return starting(spawn_supervisor(sup, {.ends = any}, {leaf}));
    }, .restart = transient, .type = child_type::supervisor, .significant = carries}});
    w.end(w.ask<child_info>(w.child("s"), which_child{"leaf"})->who, {});
    CHECK(w.ended.has_value() == carries);
  }
}

TEST_CASE("S-55: the mode can change at run time, and illegal combinations are refused then too",
          "[auto_shutdown]") {
  for (const auto before : {auto_shutdown::never, any, all})
    for (const auto after : {auto_shutdown::never, any, all}) {
      world w;
      const bool was = before != auto_shutdown::never, is_now = after != auto_shutdown::never;
      auto a = member("a", w.book, transient), b = member("b", w.book, transient);
      a.significant = b.significant = was;
      w.rise({.ends = before}, {a, b});
      if (was && !is_now)
        CHECK(refused(w.ask(change{{.ends = after}, {a, b}}).error(), fault::bad_spec,
                      "bad_combination"));
      a.significant = b.significant = is_now;
      REQUIRE(w.ask(change{{.ends = after}, {a, b}}));
      w.end(w.child("a"), {});
      CHECK(w.ended.has_value() == (after == any));
      if (after == all)
        w.end(w.child("b"), {});
      CHECK(w.ended.has_value() == is_now);
    }
}

TEST_CASE("S-55: a spec that is not mentioned is checked against the new mode as well",
          "[auto_shutdown]") {
  world w;
  w.rise({.ends = any}, {significant("a", w, transient)});
  CHECK(refused(w.ask(change{{.ends = auto_shutdown::never}, {}}).error(), fault::bad_spec,
                "bad_combination a"));
}
