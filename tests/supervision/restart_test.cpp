#include "tests/support/world.hpp"

using namespace viva::supervision;
using namespace viva::supervision::testing;
using namespace std::chrono_literals;

namespace {

std::vector<child_spec> four(const world& w) {
  return {member("a", w.book), member("b", w.book), member("c", w.book), member("d", w.book)};
}

// Fails as long as `*failures` is above zero, and counts it down.
child_spec fragile(std::string id, const world& w, std::shared_ptr<int> failures) {
  return {.id = id, .start = [=, book = w.book](auto* sup) -> start_result {
            if (*failures > 0) {
              --*failures;
              book->push_back("!" + id);
              return make_error(fault::exception, "fragile");
            }
            book->push_back("+" + id);
            return spawn(sup, obedient, book, id);
          }};
}

} // namespace

TEST_CASE("S-16: restart type by exit reason, nine cells", "[restart]") {
  struct cell { restart_type type; caf::error reason; bool restarts; bool spec_stays; };
  const std::vector<cell> cells{
    {permanent, {}, true, true},               // permanent_normal
    {permanent, shutdown_reason, true, true},  // permanent_shutdown
    {permanent, abnormal_reason, true, true},  // permanent_abnormal
    {transient, {}, false, true},              // transient_normal
    {transient, shutdown_reason, false, true}, // transient_shutdown
    {transient, make_error(fault::shutdown, "enough"), false, true}, // {shutdown, _}
    {transient, abnormal_reason, true, true},  // transient_abnormal
    {temporary, {}, false, false},             // temporary_normal
    {temporary, shutdown_reason, false, false},// temporary_shutdown
    {temporary, abnormal_reason, false, false},// temporary_abnormal
  };
  for (const auto& [type, reason, restarts, spec_stays] : cells) {
    world w;
    w.rise({}, {member("a", w.book, type)});
    const auto first = w.child("a");
    w.end(first, reason);
    CHECK(w.count().specs == (spec_stays ? 1 : 0));
    CHECK(w.count().active == (restarts ? 1 : 0));
    if (restarts)
      CHECK(w.child("a") != first);
  }
}

TEST_CASE("S-16: killed is an abnormal end", "[restart]") {
  world w;
  w.rise({}, {member("a", w.book, transient)});
  const auto first = w.child("a");
  caf::anon_send_exit(first, caf::exit_reason::kill);
  w.settle();
  CHECK(w.state("a") == life::up);
  CHECK(w.child("a") != first);
}

TEST_CASE("S-17: ends of temporary children and orders by hand do not count towards intensity",
          "[restart]") {
  world w;
  w.rise({.intensity = 1}, {member("a", w.book)});
  for (int i = 0; i < 10; ++i) {
    REQUIRE(w.ask<started>(start_child{member("t", w.book, temporary)}));
    w.crash("t");
    REQUIRE(w.ask(terminate_child{"a"}));
    REQUIRE(w.ask<started>(restart_child{"a"}));
  }
  w.crash("a");
  CHECK_FALSE(w.ended);
  CHECK(w.state("a") == life::up);
}

TEST_CASE(
    "S-18: an abnormal end is reported before the decision, so is a permanent child's normal one",
    "[restart]") {
  for (const auto type : {permanent, transient, temporary})
    for (const auto& reason : {caf::error{}, abnormal_reason}) {
      auto reports = std::make_shared<reporter>(reporter_options{
        .log = std::make_shared<spdlog::logger>("quiet")});
      std::vector<report> heard;
      reports->subscribe([&](const report& what) { heard.push_back(what); });
      world w;
      w.rise({.reports = reports}, {member("a", w.book, type)});
      w.end(w.child("a"), reason);
      reports->flush();
      std::string order;
      for (const auto& what : heard)
        order += what.context == report_context::started ? "up " : "ended ";
      const bool abnormal = ending_of(reason) == ending::abnormal;
      const bool told = abnormal || type == permanent;
      const bool restarted = judge(type, ending_of(reason)) == verdict::restart;
      // an exception is told twice: as a crash and by the supervisor
      CHECK(order == std::string{"up "} + (told ? (abnormal ? "ended ended " : "ended ") : "")
                       + (restarted ? "up " : ""));
    }
}

TEST_CASE("S-19: one_for_one restarts only the dead one", "[restart]") {
  world w;
  w.rise({}, four(w));
  const auto a = w.child("a"), b = w.child("b"), c = w.child("c");
  w.told();
  w.crash("b");
  CHECK(w.told() == "-b +b");
  CHECK(w.child("a") == a);
  CHECK(w.child("c") == c);
  CHECK(w.child("b") != b);
}

TEST_CASE("S-20: one_for_all stops the others in reverse order and starts all in order",
          "[restart]") {
  world w;
  w.rise({.how = strategy::one_for_all}, four(w));
  std::vector<caf::actor> old;
  for (const auto* id : {"a", "b", "c", "d"})
    old.push_back(w.child(id));
  w.told();
  w.crash("b");
  CHECK(w.told() == "-b -d -c -a +a +b +c +d");
  for (const auto* id : {"a", "b", "c", "d"})
    CHECK(std::find(old.begin(), old.end(), w.child(id)) == old.end());
}

TEST_CASE("S-21: rest_for_one stops the later ones in reverse order and leaves the earlier alone",
          "[restart]") {
  world w;
  w.rise({.how = strategy::rest_for_one}, four(w));
  const auto a = w.child("a");
  w.told();
  w.crash("b");
  CHECK(w.told() == "-b -d -c +b +c +d");
  CHECK(w.child("a") == a);
}

TEST_CASE("S-21: the next one is not started before the one ahead of it is up again", "[restart]") {
  world w;
  auto gate = std::make_shared<caf::actor>();
  child_spec gated{.id = "b", .start = [=](auto* sup) -> start_result {
    *gate = spawn(sup, [](caf::event_based_actor* self) -> caf::behavior {
      auto answer = std::make_shared<caf::response_promise>();
      return {[=](await_up) { return *answer = self->make_response_promise(); },
              [=](bool) { answer->deliver(caf::unit); }};
    });
    return starting(*gate);
  }};
  w.rise({.how = strategy::rest_for_one}, {member("a", w.book), gated, member("c", w.book)});
  caf::anon_send(*gate, true);
  w.settle();
  w.told();
  w.crash("a");
  CHECK(w.told() == "-a -c +a"); // b is starting, c waits for it
  caf::anon_send(*gate, true);
  w.settle();
  CHECK(w.told() == "+c");
  *gate = nullptr;
}

TEST_CASE("S-22: simple_one_for_one starts with the caller's arguments and restarts with the same",
          "[restart]") {
  world w;
  child_spec instance{.id = "i", .start = [book = w.book](auto* sup, const caf::message& args) {
    const auto id = args.get_as<std::string>(0);
    book->push_back("+" + id);
    return start_result{spawn(sup, obedient, book, id)};
  }};
  w.rise({.how = strategy::simple_one_for_one}, {instance});
  const auto x = w.ask<started>(start_instance{caf::make_message(std::string{"x"})});
  const auto y = w.ask<started>(start_instance{caf::make_message(std::string{"y"})});
  REQUIRE(x);
  REQUIRE(y);
  CHECK(w.told() == "+x +y");
  caf::anon_send(x->who, throw_now{"boom"});
  w.settle();
  CHECK(w.told() == "-x +x");
  const auto all = w.ask<std::vector<child_info>>(which_children{});
  REQUIRE(all->size() == 2);
  CHECK((*all)[0].who == y->who);
}

TEST_CASE("S-23: a temporary sibling stopped by a group restart stays away and its spec goes",
          "[restart]") {
  for (const auto how : {strategy::one_for_all, strategy::rest_for_one}) {
    world w;
    w.rise({.how = how},
           {member("a", w.book), member("t", w.book, temporary), member("c", w.book)});
    w.told();
    w.crash("a");
    CHECK(w.told() == "-a -c -t +a +c");
    CHECK_FALSE(w.look("t"));
  }
}

TEST_CASE("S-24: a group restart leaves alone who had ended as allowed or was stopped by hand",
          "[restart]") {
  world w;
  w.rise({.how = strategy::one_for_all},
         {member("a", w.book), member("ended", w.book, transient), member("stopped", w.book)});
  w.end(w.child("ended"), {});
  REQUIRE(w.ask(terminate_child{"stopped"}));
  w.told();
  w.crash("a");
  CHECK(w.told() == "-a +a");
  CHECK(w.state("ended") == life::down);
  CHECK(w.state("stopped") == life::down);
}

TEST_CASE("S-24: so it does with one that ends as allowed while the group restarts", "[restart]") {
  world w;
  auto slow = member("slow", w.book);
  slow.shutdown = shutdown_policy::after(100ms);
  w.rise({.how = strategy::one_for_all},
         {member("a", w.book), member("ends", w.book, transient), slow});
  const auto ends = w.child("ends");
  caf::anon_send(w.child("slow"), be_deaf{});
  w.crash("a"); // waits for slow, which is stopped first
  w.end(ends, {});
  w.told();
  w.pass(100ms);
  CHECK(w.state("a") == life::up);
  CHECK(w.state("slow") == life::up);
  CHECK(w.state("ends") == life::down);
}

TEST_CASE("S-24: under otp_compat a group restart revives them", "[restart]") {
  world w;
  w.rise(otp_compat({.how = strategy::one_for_all}),
         {member("a", w.book), member("ended", w.book, transient), member("stopped", w.book)});
  w.end(w.child("ended"), {});
  REQUIRE(w.ask(terminate_child{"stopped"}));
  w.told();
  w.crash("a");
  CHECK(w.told() == "-a +a +ended +stopped");
}

TEST_CASE("S-24: a child restarted by hand is wanted again", "[restart]") {
  world w;
  w.rise({.how = strategy::one_for_all}, {member("a", w.book), member("b", w.book)});
  REQUIRE(w.ask(terminate_child{"b"}));
  REQUIRE(w.ask<started>(restart_child{"b"}));
  w.told();
  w.crash("a");
  CHECK(w.told() == "-a -b +a +b");
}

TEST_CASE("S-25: one_for_all begins again when a child fails, stopping those already restarted",
          "[restart]") {
  world w;
  auto failures = std::make_shared<int>(0);
  w.rise(otp_compat({.how = strategy::one_for_all, .intensity = 5}),
         {member("a", w.book), fragile("b", w, failures), member("c", w.book)});
  w.told();
  *failures = 1;
  w.crash("c");
  CHECK(w.told() == "-c -b -a +a !b -a +a +b +c");
  CHECK(w.count().active == 3);
}

TEST_CASE("S-25: rest_for_one goes on from the child that failed and keeps the earlier ones",
          "[restart]") {
  world w;
  auto failures = std::make_shared<int>(0);
  w.rise(
      otp_compat({.how = strategy::rest_for_one, .intensity = 5}),
      {member("a", w.book), member("b", w.book), fragile("c", w, failures), member("d", w.book)});
  w.told();
  *failures = 1;
  w.crash("b");
  CHECK(w.told() == "-b -d -c +b !c +c +d");
}

namespace {

constexpr backoff_options slow{10s, 10s, 1h};

} // namespace

TEST_CASE("S-33: siblings that a group restart has stopped come back where it is called off",
          "[restart]") {
  for (const auto how : {strategy::one_for_all, strategy::rest_for_one}) {
    world w;
    w.rise({.how = how, .intensity = 99, .backoff = slow}, four(w));
    w.crash("b");
    w.told();
    w.crash("b");
    const bool everyone = how == strategy::one_for_all;
    REQUIRE(w.state("b") == life::restarting);
    CHECK(w.told() == (everyone ? "-b -d -c -a" : "-b -d -c"));
    REQUIRE(w.ask(terminate_child{"c"})); // not one of those that are to come back
    CHECK(w.told().empty());
    REQUIRE(w.ask(terminate_child{"b"}));
    CHECK(w.told() == (everyone ? "+a +d" : "+d"));
    w.pass(1h);
    CHECK(w.told().empty());
    CHECK(w.state("b") == life::down);
    CHECK(w.state("c") == life::down);
    w.crash("d"); // and they are children like any other
    w.pass(10s);
    CHECK(w.told() == (everyone ? "-d -a +a +d" : "-d +d"));
  }
}

TEST_CASE("S-33: so they do where one of them was the one that could not be started", "[restart]") {
  for (const bool waited : {false, true}) { // or at once
    world w;
    auto failures = std::make_shared<int>(0);
    w.rise({.how = strategy::one_for_all, .intensity = 99, .backoff = slow},
           {fragile("x", w, failures), member("b", w.book), member("c", w.book)});
    if (waited)
      for (const auto* id : {"x", "b"}) // what comes next waits
        w.crash(id);
    w.told();
    *failures = 99;
    w.crash("b");
    std::string story = w.told();
    for (int i = 0; i < 10'000 && story.find("!x") == std::string::npos; ++i) {
      w.pass(1ms);
      story += w.told();
    }
    CHECK(story.starts_with(waited ? "-b -c -x!x" : "-b -c -x !x !x"));
    REQUIRE(w.state("x") == life::restarting);
    REQUIRE(w.ask(terminate_child{"x"}));
    CHECK(w.told() == "+b +c");
    w.pass(1h);
    CHECK(w.told().empty());
  }
}

TEST_CASE("S-33: so they do where the strategy is another by now", "[restart]") {
  world w;
  auto failures = std::make_shared<int>(0);
  w.rise({.how = strategy::one_for_all, .intensity = 99, .backoff = slow},
         {member("a", w.book), fragile("b", w, failures), member("c", w.book),
          member("d", w.book)});
  w.crash("c");
  w.crash("c");
  REQUIRE(w.state("c") == life::restarting);
  w.told();
  *failures = 1; // one that fails does not hold up those behind it
  REQUIRE(w.ask(change{{.how = strategy::one_for_one, .intensity = 99, .backoff = slow}, {}}));
  w.settle();
  CHECK(w.told() == "+a !b +d +b");
  CHECK(w.state("c") == life::restarting);
  w.pass(10s);
  CHECK(w.told() == "+c");
}

TEST_CASE("a death overtakes what waits in the supervisor's mailbox", "[restart]") {
  world w;
  w.rise({}, {member("a", w.book)});
  const auto before = w.child("a");
  std::vector<caf::actor> answers;
  // Runs first; then a dies, and the supervisor finds its end behind a thousand questions.
  w.system.spawn([&](caf::event_based_actor* self) {
    for (int i = 0; i < 1000; ++i)
      self->request(w.top, caf::infinite, which_children{})
        .then([&](const std::vector<child_info>& all) { answers.push_back(all.at(0).who); });
  });
  w.scheduler.try_run_once();
  REQUIRE(w.scheduler.jobs.size() == 1); // the supervisor's
  urge_exit(before, before.address(), caf::exit_reason::kill);
  std::swap(w.scheduler.jobs.front(), w.scheduler.jobs.back());
  w.settle();
  REQUIRE(answers.size() == 1000);
  CHECK(answers.back());
  CHECK(answers.back() != before); // it is up again before the last answer
}
