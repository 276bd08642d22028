#include "tests/support/world.hpp"

using namespace viva::supervision;
using namespace viva::supervision::testing;
using namespace std::chrono_literals;

TEST_CASE("S-37: children stop in reverse start order, one after the other", "[stop]") {
  world w;
  auto deaf = member("b", w.book);
  deaf.shutdown = shutdown_policy::after(100ms);
  w.rise({}, {member("a", w.book), deaf, member("c", w.book)});
  caf::anon_send(w.child("b"), be_deaf{});
  w.settle();
  w.told();
  caf::anon_send(w.top, stop{});
  w.settle();
  CHECK(w.told() == "-c"); // a is not asked before b is gone
  w.pass(99ms);
  CHECK(w.told().empty());
  w.pass(1ms);
  CHECK(w.told() == "-b -a");
  CHECK(w.ended);
}

TEST_CASE("S-37: stop_in_parallel asks all at once, so one deadline is the whole time", "[stop]") {
  world w;
  std::vector<child_spec> specs{member("a", w.book), member("b", w.book), member("c", w.book)};
  for (auto& spec : specs)
    spec.shutdown = shutdown_policy::after(100ms);
  w.rise({.stop_in_parallel = true}, specs);
  for (const auto* id : {"a", "b", "c"})
    caf::anon_send(w.child(id), be_deaf{});
  w.settle();
  caf::anon_send(w.top, stop{});
  w.settle();
  w.pass(100ms);
  CHECK(w.ended);
}

TEST_CASE("S-38: brutal_kill cannot be trapped and the reason is killed", "[stop]") {
  world w;
  auto spec = member("a", w.book);
  spec.shutdown = shutdown_policy::brutal_kill();
  std::vector<caf::error> reasons;
  w.rise({.subscribers = {{.on_down = [&](const child_down& e) { reasons.push_back(e.reason); }}}},
         {spec, member("b", w.book)});
  caf::anon_send(w.child("a"), be_deaf{});
  w.settle();
  CHECK(w.ask(stop{}));
  REQUIRE(reasons.size() == 2);
  CHECK(to_text(reasons[0]) == "shutdown");
  CHECK(to_text(reasons[1]) == "killed");
}

TEST_CASE("S-38: the same for ten dynamic children", "[stop]") {
  world w;
  auto spec = member("a", w.book);
  spec.shutdown = shutdown_policy::brutal_kill();
  int killed = 0;
  w.rise({.how = strategy::simple_one_for_one,
          .subscribers =
              {{.on_down = [&](const child_down& e) { killed += to_text(e.reason) == "killed"; }}}},
         {spec});
  for (int i = 0; i < 10; ++i)
    caf::anon_send(w.ask<started>(start_instance{})->who, be_deaf{});
  w.settle();
  CHECK(w.ask(stop{}));
  CHECK(killed == 10);
}

TEST_CASE("S-39: with a timeout shutdown is asked first, the kill comes when the time is up",
          "[stop]") {
  world w;
  std::vector<child_spec> specs{member("obeys", w.book), member("deaf", w.book)};
  for (auto& spec : specs)
    spec.shutdown = shutdown_policy::after(1000ms);
  std::vector<std::string> ends;
  w.rise({.subscribers = {{.on_down =
                               [&](const child_down& e) {
                                 ends.push_back(e.id + " " + to_text(e.reason));
                               }}}},
         specs);
  caf::anon_send(w.child("deaf"), be_deaf{});
  w.settle();
  caf::anon_send(w.top, stop{});
  w.settle();
  w.pass(999ms);
  CHECK(ends.empty());
  w.pass(1ms);
  CHECK(ends == std::vector<std::string>{"deaf killed", "obeys shutdown"});
}

TEST_CASE("S-40: infinity waits, for workers too", "[stop]") {
  world w;
  auto spec = member("a", w.book);
  spec.shutdown = shutdown_policy::infinity();
  w.rise({}, {spec});
  const auto a = w.child("a");
  caf::anon_send(a, be_deaf{});
  w.settle();
  caf::anon_send(w.top, stop{});
  w.settle();
  w.pass(24h);
  CHECK_FALSE(w.ended);
  w.end(a, {});
  CHECK(w.ended);
}

TEST_CASE("S-41: simple_one_for_one stops all at once with one common timer", "[stop]") {
  world w;
  auto spec = member("a", w.book);
  spec.shutdown = shutdown_policy::after(1000ms);
  w.rise({.how = strategy::simple_one_for_one}, {spec});
  for (int i = 0; i < 50; ++i)
    caf::anon_send(w.ask<started>(start_instance{})->who, be_deaf{});
  w.settle();
  caf::anon_send(w.top, stop{});
  w.settle();
  w.pass(999ms);
  CHECK_FALSE(w.ended);
  w.pass(1ms);
  CHECK(w.ended);
}

TEST_CASE("S-42: children that end by themselves while the stop runs do not hang or fail it",
          "[stop]") {
  for (const auto type : {permanent, transient, temporary})
    for (const auto& reason : {caf::error{}, shutdown_reason, abnormal_reason,
                               caf::error{caf::exit_reason::kill}}) {
      world w;
      auto deaf = member("deaf", w.book);
      deaf.shutdown = shutdown_policy::after(100ms);
      w.rise({}, {member("a", w.book, type), deaf});
      const auto a = w.child("a");
      caf::anon_send(w.child("deaf"), be_deaf{});
      w.settle();
      caf::anon_send(w.top, stop{});
      w.settle();
      w.end(a, reason);
      w.pass(100ms);
      REQUIRE(w.ended);
      CHECK(*w.ended == shutdown_reason);
    }
}

TEST_CASE("S-42: a child that answers shutdown with another reason is reported", "[stop]") {
  for (const auto how : {strategy::one_for_one, strategy::simple_one_for_one}) {
    auto reports = std::make_shared<reporter>(
      reporter_options{.log = std::make_shared<spdlog::logger>("quiet")});
    std::vector<report> heard;
    reports->subscribe([&](const report& what) { heard.push_back(what); });
    world w;
    w.rise({.how = how, .reports = reports}, {member("a", w.book)});
    if (how == strategy::simple_one_for_one)
      w.ask<started>(start_instance{});
    for (const auto& each : w.all())
      caf::anon_send(each.who, end_late{make_error(fault::exception, "odd")});
    w.settle();
    CHECK(w.ask(stop{}));
    CHECK(*w.ended == shutdown_reason);
    reports->flush();
    REQUIRE(!heard.empty());
    CHECK(heard.back().context == report_context::shutdown_error);
    CHECK(refused(heard.back().reason, fault::exception, "odd"));
  }
}

TEST_CASE("S-42: a child that crashes while others are stopped is reported with its words",
          "[stop]") {
  for (const bool ends : {true, false}) {
    auto reports = std::make_shared<reporter>(
      reporter_options{.log = std::make_shared<spdlog::logger>("quiet")});
    std::vector<report> heard;
    reports->subscribe([&](const report& what) { heard.push_back(what); });
    world w;
    auto deaf = member("deaf", w.book);
    deaf.shutdown = shutdown_policy::after(100ms);
    w.rise({.how = strategy::one_for_all, .reports = reports},
           {member("a", w.book), member("b", w.book), deaf});
    const auto b = w.child("b");
    caf::anon_send(w.child("deaf"), be_deaf{});
    if (ends)
      caf::anon_send(w.top, stop{});
    else
      caf::anon_send(w.child("a"), throw_now{"first"});
    w.settle(); // deaf is being stopped, b is not yet told
    caf::anon_send(b, throw_now{"odd"});
    w.settle();
    w.pass(100ms);
    CHECK(w.ended.has_value() == ends);
    reports->flush();
    const auto told = std::ranges::count_if(heard, [](const report& what) {
      return what.context == report_context::shutdown_error && to_text(what.reason).find("odd")
             != std::string::npos;
    });
    CHECK(told == 2); // the crash, and what the supervisor says of it
  }
}

namespace {

/// How often an end of b is told where it ends normally during a stop or a group restart: by itself
/// before it is asked, or in answer.
std::ptrdiff_t told_of_normal_end(restart_type type, bool stops, bool asked) {
  auto reports = std::make_shared<reporter>(
    reporter_options{.log = std::make_shared<spdlog::logger>("quiet")});
  std::vector<report> heard;
  reports->subscribe([&](const report& what) { heard.push_back(what); });
  world w;
  auto deaf = member("deaf", w.book);
  deaf.shutdown = shutdown_policy::after(100ms);
  w.rise({.how = strategy::one_for_all, .reports = reports},
         {member("a", w.book), member("b", w.book, type), deaf});
  const auto b = w.child("b");
  caf::anon_send(w.child("deaf"), be_deaf{});
  if (asked)
    caf::anon_send(b, end_late{});
  if (stops)
    caf::anon_send(w.top, stop{});
  else
    caf::anon_send(w.child("a"), throw_now{"first"});
  w.settle(); // deaf is being stopped, b is not yet told
  if (!asked)
    w.end(b, {});
  w.pass(100ms);
  CHECK(w.ended.has_value() == stops);
  reports->flush();
  return std::ranges::count_if(heard, [](const report& what) {
    return what.context == report_context::shutdown_error && what.child == "b";
  });
}

} // namespace

TEST_CASE("S-18: a permanent child that ends normally while it is to stop is reported, no other is",
          "[stop]") {
  for (const bool stops : {true, false})
    for (const bool asked : {true, false}) {
      CHECK(told_of_normal_end(permanent, stops, asked) == 1);
      CHECK(told_of_normal_end(transient, stops, asked) == 0);
      CHECK(told_of_normal_end(temporary, stops, asked) == 0);
    }
}

TEST_CASE("S-43: a child cannot hang its supervisor by cutting links: there are none", "[stop]") {
  world w;
  w.rise({}, {member("a", w.book)});
  const auto a = w.child("a");
  caf::actor_cast<caf::abstract_actor*>(a)->remove_link(
      caf::actor_cast<caf::abstract_actor*>(w.top));
  CHECK(w.ask(stop{}));
  CHECK(w.ended);
}

TEST_CASE("S-44: killing a supervisor takes its children down and its parent restarts it",
          "[stop]") {
  world w;
  auto specs = std::vector<child_spec>{member("a", w.book), member("b", w.book)};
  w.rise({.name = "top"}, {{.id = "s", .start = [=](auto* sup) -> start_result {
    return starting(spawn_supervisor(sup, {.name = "s"}, specs));
  }, .type = child_type::supervisor}});
  const auto first = w.registry->find("s/a");
  REQUIRE(first);
  w.told();
  SECTION("kill the supervisor") {
    caf::anon_send_exit(w.child("s"), caf::exit_reason::kill);
    w.settle();
    const auto story = w.told();
    CHECK(story.find("-a") != std::string::npos);
    CHECK(story.find("-b") != std::string::npos);
    CHECK(story.find("+a +b") != std::string::npos);
  }
  SECTION("kill the worker") {
    caf::anon_send_exit(first, caf::exit_reason::kill);
    w.settle();
  }
  SECTION("the worker exits") {
    w.end(first, {});
  }
  REQUIRE(w.registry->find("s/a")); // names come back
  CHECK(w.registry->find("s/a") != first);
}

TEST_CASE("S-45: the exit of a linked stranger is ignored, the parent's is not", "[stop]") {
  world w;
  w.rise({}, {member("a", w.book)});
  auto stranger = w.system.spawn(obedient, w.book, "stranger");
  caf::anon_send<caf::message_priority::high>(
    w.top, caf::exit_msg{stranger.address(), abnormal_reason});
  w.settle();
  CHECK_FALSE(w.ended);
  CHECK(w.state("a") == life::up);
  w.end(stranger, {});
  caf::anon_send_exit(w.top, caf::exit_reason::user_shutdown); // an operator, no stranger
  w.settle();
  CHECK(w.ended);
}

TEST_CASE("S-46: unknown messages are reported and dropped", "[stop]") {
  auto reports = std::make_shared<reporter>(
    reporter_options{.log = std::make_shared<spdlog::logger>("quiet")});
  std::vector<report> heard;
  reports->subscribe([&](const report& what) { heard.push_back(what); });
  world w;
  w.rise({.reports = reports}, {member("a", w.book)});
  caf::anon_send(w.top, std::string{"what?"});
  CHECK(w.state("a") == life::up);
  reports->flush();
  CHECK(heard.back().context == report_context::unknown_message);
  CHECK(to_text(heard.back().reason).find("what?") != std::string::npos);
}

TEST_CASE("an ending pushes ahead of a start that hangs", "[stop]") {
  world w;
  w.rise({}, {member("a", w.book), {.id = "mute", .start = [](auto* sup) -> start_result {
    return starting(spawn(sup, [](caf::event_based_actor* self) -> caf::behavior {
      return {[=](await_up) { return self->make_response_promise(); }};
    }));
  }}});
  CHECK(w.state("mute") == life::starting);
  w.ask(stop{});
  CHECK(w.ended);
  CHECK(w.told() == "+a -a");
}

TEST_CASE("orders that waited when the supervisor ended are answered no_process", "[stop]") {
  world w;
  auto deaf = member("a", w.book);
  deaf.shutdown = shutdown_policy::after(100ms);
  w.rise({}, {deaf});
  caf::anon_send(w.child("a"), be_deaf{});
  w.settle();
  auto terminating = w.ask(terminate_child{"a"}); // not answered yet: a is deaf
  CHECK(refused(terminating.error(), fault::timed_out));
  caf::error waited;
  w.system.spawn([&, top = w.top](caf::event_based_actor* self) {
    self->request(top, caf::infinite, restart_child{"a"})
      .then([](const started&) {}, [&](caf::error& why) { waited = why; });
  });
  w.settle();
  CHECK_FALSE(waited);
  caf::anon_send(w.top, stop{});
  w.settle();
  CHECK(refused(waited, fault::no_process));
  w.pass(100ms);
  CHECK(w.ended);
}
