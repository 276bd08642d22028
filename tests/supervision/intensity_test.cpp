#include "tests/support/world.hpp"

using namespace viva::supervision;
using namespace viva::supervision::testing;
using namespace std::chrono_literals;

namespace {

// Starts once, then never again; counts its attempts.
child_spec once(std::string id, const world& w, std::shared_ptr<int> attempts) {
  return {.id = id, .start = [=, book = w.book](auto* sup) -> start_result {
            if ((*attempts)++ > 0)
              return make_error(fault::exception, "never again");
            return spawn(sup, obedient, book, id);
          }};
}

// Instances by the name they are given; x starts once, then never again.
child_spec instances(const world& w, std::shared_ptr<int> attempts) {
  return {.id = "i", .start = [=, book = w.book](auto* sup, const caf::message& args)
                       -> start_result {
            const auto id = args.get_as<std::string>(0);
            if (id == "x" && (*attempts)++ > 0)
              return make_error(fault::exception, "never again");
            return spawn(sup, obedient, book, id);
          }};
}

caf::actor instance(world& w, const std::string& id) {
  const auto made = w.ask<started>(start_instance{caf::make_message(id)});
  REQUIRE(made);
  return made->who;
}

// Has a child crash whose restarts go on for ever, asks its supervisor in their midst, stops it.
template <class Answer, class Order>
std::optional<Answer> asked_in_the_loop(world& w, const caf::actor& victim, const int& attempts,
                                        Order order) {
  caf::anon_send(victim, throw_now{"boom"});
  for (int i = 0; i < 200; ++i)
    w.scheduler.try_run_once();
  REQUIRE(attempts > 3);
  auto seen = std::make_shared<std::optional<Answer>>();
  w.system.spawn([=, top = w.top](caf::event_based_actor* self) {
    self->request(top, caf::infinite, order)
      .then([=](const Answer& answer) { *seen = answer; }, [](caf::error&) {});
    self->send(top, stop{});
  });
  // the testing scheduler goes on with whom it ran last; every other step is somebody else's
  for (int i = 0; i < 1000 && !w.ended; ++i)
    i % 2 ? w.scheduler.try_run_once() : w.scheduler.try_run_once_lifo();
  if (w.ended)
    w.settle(); // the loop is over, the asker hears its answer
  INFO("attempts " << attempts);
  REQUIRE(w.ended);
  return *seen;
}

supervisor_options otp(strategy how, std::uint32_t intensity) {
  return otp_compat({.how = how, .intensity = intensity});
}

child_spec inner(std::string id, restart_type restart, supervisor_options options,
                 std::vector<child_spec> specs) {
  return {
      .id = std::move(id),
      .start =
          [=](auto* sup) { return start_result{starting(spawn_supervisor(sup, options, specs))}; },
      .restart = restart,
      .type = child_type::supervisor};
}

// The children of the supervisor that is child `id` of top.
caf::actor grandchild(world& w, const std::string& id, const std::string& below) {
  auto info = w.ask<child_info>(w.child(id), which_child{below});
  return info ? info->who : caf::actor{};
}

} // namespace

TEST_CASE("S-26: more restarts than the intensity end the supervisor and all its children",
          "[intensity]") {
  for (const auto how : {strategy::one_for_one, strategy::one_for_all, strategy::rest_for_one}) {
    world w;
    w.rise(otp(how, 2), {member("a", w.book), member("b", w.book)});
    w.crash("a");
    w.crash("a");
    CHECK_FALSE(w.ended);
    w.told();
    w.crash("a");
    REQUIRE(w.ended);
    CHECK(*w.ended == shutdown_reason);
    CHECK(w.told() == "-a -b");
  }
}

TEST_CASE("S-26: the same under simple_one_for_one", "[intensity]") {
  world w;
  w.rise(otp(strategy::simple_one_for_one, 1), {member("a", w.book)});
  auto who = w.ask<started>(start_instance{})->who;
  w.ask<started>(start_instance{});
  caf::anon_send(who, throw_now{"1"});
  w.settle();
  CHECK_FALSE(w.ended);
  for (const auto& each : w.all())
    who = each.who;
  caf::anon_send(who, throw_now{"2"});
  w.settle();
  REQUIRE(w.ended);
  CHECK(*w.ended == shutdown_reason);
}

TEST_CASE("S-27: with intensity 0 the first restart ends the supervisor", "[intensity]") {
  world w;
  w.rise({.intensity = 0}, {member("a", w.book)});
  w.crash("a");
  REQUIRE(w.ended);
  CHECK(refused(*w.ended, fault::intensity, "boom"));
}

TEST_CASE("S-28: restarts spaced outside the period never trip it, milliseconds count",
          "[intensity]") {
  world w;
  w.rise({.intensity = 1, .period = 100ms, .backoff = {0ms, 0ms, 1s}}, {member("a", w.book)});
  for (int i = 0; i < 20; ++i) {
    w.crash("a");
    REQUIRE_FALSE(w.ended);
    w.pass(101ms);
  }
  w.crash("a");
  w.pass(100ms);
  w.crash("a");
  CHECK(w.ended);
}

TEST_CASE("S-28: under otp_compat the window counts whole seconds", "[intensity]") {
  world w;
  w.rise(otp_compat({.intensity = 1, .period = 1s}), {member("a", w.book)});
  const auto second = w.scheduler.clock().now().time_since_epoch() % 1s;
  w.pass(std::chrono::ceil<milliseconds>(1s - second) + 10ms); // just past a full second
  w.crash("a");
  w.pass(1900ms); // ours would have forgotten; the second after next has not begun
  w.crash("a");
  CHECK(w.ended);
}

TEST_CASE("S-29: one crash counts once, however many siblings it restarts", "[intensity]") {
  world w;
  w.rise(otp(strategy::one_for_all, 2),
         {member("a", w.book), member("b", w.book), member("c", w.book), member("d", w.book)});
  w.crash("a");
  w.crash("b");
  CHECK_FALSE(w.ended);
  w.crash("c");
  CHECK(w.ended);
}

TEST_CASE("S-30: every failed attempt counts, and the siblings end too", "[intensity]") {
  for (const auto how : {strategy::one_for_one, strategy::one_for_all, strategy::rest_for_one}) {
    world w;
    auto attempts = std::make_shared<int>(0);
    w.rise(otp(how, 4), {once("x", w, attempts), member("b", w.book)});
    w.crash("x");
    REQUIRE(w.ended);
    CHECK(*attempts == 1 + 4);
    CHECK(w.told().ends_with("-b"));
  }
}

TEST_CASE("S-30: so it does under simple_one_for_one", "[intensity]") {
  world w;
  auto attempts = std::make_shared<int>(0);
  w.rise(otp(strategy::simple_one_for_one, 4), {instances(w, attempts)});
  const auto x = instance(w, "x");
  instance(w, "b");
  caf::anon_send(x, throw_now{"boom"});
  w.settle();
  REQUIRE(w.ended);
  CHECK(*w.ended == shutdown_reason);
  CHECK(*attempts == 1 + 4);
  CHECK(w.told() == "-x -b");
}

TEST_CASE("S-31: under otp_compat retries have no delay", "[intensity]") {
  world w;
  auto attempts = std::make_shared<int>(0);
  w.rise(otp(strategy::one_for_one, 3), {once("x", w, attempts)});
  w.crash("x");
  CHECK(w.ended); // time stood still
}

TEST_CASE("S-31: ours waits: at once, then with full jitter below a growing cap", "[intensity]") {
  world w;
  auto attempts = std::make_shared<int>(0);
  w.rise({.intensity = 1000}, {once("x", w, attempts)});
  w.crash("x");
  CHECK(*attempts == 2); // the first restart is immediate
  CHECK(w.state("x") == life::restarting);
  w.pass(50ms);
  CHECK(*attempts >= 3);
  w.pass(60s);
  CHECK(*attempts >= 3 + 6);  // at most 10 s apart
  CHECK(*attempts < 100);     // OTP would have tried a million times
}

TEST_CASE("S-31: a healthy child starts over without delay", "[intensity]") {
  world w;
  w.rise({.intensity = 1000, .backoff = {10s, 10s, 60s}}, {member("a", w.book)});
  w.crash("a");
  CHECK(w.state("a") == life::up);
  w.crash("a");
  CHECK(w.state("a") == life::restarting);
  w.pass(10s);
  CHECK(w.state("a") == life::up);
  w.pass(60s);
  w.crash("a");
  CHECK(w.state("a") == life::up);
}

TEST_CASE("S-31: a shared bucket spreads the restarts of many supervisors", "[intensity]") {
  world w;
  auto bucket = std::make_shared<shared_bucket>(10, 2);
  w.rise({.intensity = 100, .bucket = bucket},
         {member("a", w.book), member("b", w.book), member("c", w.book), member("d", w.book)});
  for (const auto* id : {"a", "b", "c", "d"})
    w.crash(id);
  CHECK(w.count().active == 2);
  w.pass(100ms);
  CHECK(w.count().active == 3);
  w.pass(100ms);
  CHECK(w.count().active == 4);
}

TEST_CASE("S-32: between attempts the supervisor can be asked and stopped", "[intensity]") {
  for (const auto how : {strategy::one_for_one, strategy::one_for_all, strategy::rest_for_one}) {
    world w;
    auto attempts = std::make_shared<int>(0);
    // no delay, and an intensity it never reaches: a loop that only the mailbox can break
    w.rise(otp(how, 1'000'000), {once("x", w, attempts), member("b", w.book)});
    const auto x = w.child("x");
    INFO("strategy " << static_cast<int>(how));
    const auto seen = asked_in_the_loop<child_info>(w, x, *attempts, which_child{"x"});
    REQUIRE(seen);
    CHECK(seen->state == life::restarting);
  }
}

TEST_CASE("S-32: so it can under simple_one_for_one", "[intensity]") {
  world w;
  auto attempts = std::make_shared<int>(0);
  w.rise(otp(strategy::simple_one_for_one, 1'000'000), {instances(w, attempts)});
  const auto x = instance(w, "x");
  instance(w, "b");
  const auto seen
    = asked_in_the_loop<std::vector<child_info>>(w, x, *attempts, which_children{});
  REQUIRE(seen);
  REQUIRE(seen->size() == 2); // the newest first
  CHECK(seen->at(0).state == life::up);
  CHECK(seen->at(1).state == life::restarting);
}

TEST_CASE("S-33: while a child waits for its next attempt the orders know it", "[intensity]") {
  world w;
  auto attempts = std::make_shared<int>(0);
  w.rise({.intensity = 1000, .backoff = {10s, 10s, 60s}}, {once("x", w, attempts)});
  w.crash("x");
  REQUIRE(w.state("x") == life::restarting);
  CHECK_FALSE(w.child("x"));
  CHECK(refused(w.ask<started>(restart_child{"x"}).error(), fault::restarting));
  CHECK(refused(w.ask(delete_child{"x"}).error(), fault::restarting));
  CHECK(refused(w.ask<started>(start_child{member("x", w.book)}).error(), fault::already_present));
  const auto before = *attempts;
  CHECK(w.ask(terminate_child{"x"})); // cancels
  CHECK(w.state("x") == life::down);
  w.pass(1h);
  CHECK(*attempts == before);
  CHECK(w.ask(delete_child{"x"}));
}

TEST_CASE("S-33: an instance that waits for its next attempt can be terminated", "[intensity]") {
  world w;
  auto attempts = std::make_shared<int>(0);
  w.rise({.how = strategy::simple_one_for_one, .intensity = 1000, .backoff = {10s, 10s, 60s}},
         {once("x", w, attempts)});
  const auto x = w.ask<started>(start_instance{});
  REQUIRE(x);
  caf::anon_send(x->who, throw_now{"boom"});
  w.settle();
  REQUIRE(w.all().size() == 1);
  REQUIRE(w.all()[0].state == life::restarting);
  const auto before = *attempts;
  CHECK(w.ask(terminate_instance{x->who})); // cancels
  w.pass(1h);
  CHECK(*attempts == before);
  CHECK(w.all().empty());
}

TEST_CASE("S-31: a child whose time comes while another one is being started comes back",
          "[intensity]") {
  world w;
  auto handle = std::make_shared<caf::actor>();
  const child_spec late{.id = "late", .start = [=](auto* sup) -> start_result {
                          *handle = spawn(sup, [](caf::event_based_actor* self) -> caf::behavior {
                            auto answer = std::make_shared<caf::response_promise>();
                            return {[=](await_up) {
                                      return *answer = self->make_response_promise();
                                    },
                                    [=](bool) { answer->deliver(caf::unit); }};
                          });
                          return starting(*handle);
                        }};
  auto attempts = std::make_shared<int>(0);
  auto x = once("x", w, attempts);
  x.start = [=, again = once("x", w, std::make_shared<int>(0)).start, fails = x.start](
              auto* sup, const caf::message& args) {
    return *attempts < 2 ? fails(sup, args) : again(sup, args); // the second attempt fails
  };
  w.rise({.intensity = 1000, .backoff = {10s, 10s, 60s}}, {x});
  w.crash("x");
  REQUIRE(w.state("x") == life::restarting);
  caf::anon_send(w.top, start_child{late});
  w.settle();
  w.pass(20s); // x's time came, and late is not up yet
  caf::anon_send(*handle, true);
  w.settle();
  CHECK(w.state("late") == life::up);
  CHECK(w.state("x") == life::up);
}

TEST_CASE("S-34: count_children leaves out those being retried", "[intensity]") {
  world w;
  auto attempts = std::make_shared<int>(0);
  w.rise({.intensity = 1000, .backoff = {10s, 10s, 60s}},
         {once("x", w, attempts), member("b", w.book)});
  w.crash("x");
  const auto counts = w.count();
  CHECK(counts.specs == 2);
  CHECK(counts.active == 1);
  CHECK(counts.workers == 2);
}

TEST_CASE("S-35: a permanent supervisor that gave up is restarted, a transient one too",
          "[intensity]") {
  for (const auto type : {permanent, transient}) {
    world w;
    w.rise({}, {inner("s", type, {.intensity = 0}, {member("a", w.book)})});
    const auto first = w.child("s");
    caf::anon_send(grandchild(w, "s", "a"), throw_now{"boom"});
    w.settle();
    REQUIRE(w.child("s"));
    CHECK(w.child("s") != first);
    CHECK(grandchild(w, "s", "a"));
  }
}

TEST_CASE("S-35: under otp_compat a transient supervisor that gave up leaves a hole",
          "[intensity]") {
  for (const auto type : {permanent, transient}) {
    world w;
    w.rise(otp_compat({}), {inner("s", type, otp_compat({.intensity = 0}), {member("a", w.book)})});
    caf::anon_send(grandchild(w, "s", "a"), throw_now{"boom"});
    w.settle();
    CHECK(w.state("s") == (type == permanent ? life::up : life::down));
  }
}

TEST_CASE("S-36: a restarted supervisor has its static children again and its dynamic ones not",
          "[intensity]") {
  world w;
  w.rise({}, {inner("s", permanent, {.intensity = 0}, {member("a", w.book)})});
  REQUIRE(w.ask<started>(w.child("s"), start_child{member("dynamic", w.book)}));
  caf::anon_send(grandchild(w, "s", "a"), throw_now{"boom"});
  w.settle();
  CHECK(w.ask<child_counts>(w.child("s"), count_children{})->specs == 1);
  CHECK(grandchild(w, "s", "a"));
  CHECK_FALSE(grandchild(w, "s", "dynamic"));
}

TEST_CASE("S-36: escalation climbs: each level gives up in turn until the top ends",
          "[intensity]") {
  world w;
  w.rise({.intensity = 0},
         {inner("s", permanent, {.intensity = 0},
                {inner("t", permanent, {.intensity = 0}, {member("a", w.book)})})});
  const auto t = grandchild(w, "s", "t");
  const auto a = w.ask<child_info>(t, which_child{"a"})->who;
  caf::anon_send(a, throw_now{"deep"});
  w.settle();
  REQUIRE(w.ended);
  CHECK(refused(*w.ended, fault::intensity, "deep"));
}
