#include "tests/support/world.hpp"

using namespace viva::supervision;
using namespace viva::supervision::testing;
using namespace std::chrono_literals;

TEST_CASE(
    "S-56: start_child: a known id is already started or already present, a failure leaves no spec",
    "[dynamic]") {
  world w;
  w.rise({}, {});
  REQUIRE(w.ask<started>(start_child{member("a", w.book)}));
  CHECK(refused(w.ask<started>(start_child{member("a", w.book)}).error(), fault::already_started));
  REQUIRE(w.ask(terminate_child{"a"}));
  CHECK(refused(w.ask<started>(start_child{member("a", w.book)}).error(), fault::already_present));
  child_spec broken{.id = "b", .start = [](auto*) -> start_result {
    return make_error(fault::exception, "broken");
  }};
  CHECK(refused(w.ask<started>(start_child{broken}).error(), fault::start_failed, "broken"));
  CHECK_FALSE(w.look("b"));
  CHECK(w.ask<started>(start_child{member("b", w.book)}));
  CHECK(refused(w.ask<started>(start_child{member("", w.book)}).error(), fault::bad_spec));
}

TEST_CASE("S-57: terminate_child keeps the spec unless temporary, and is fine twice", "[dynamic]") {
  world w;
  w.rise({}, {member("a", w.book), member("t", w.book, temporary)});
  const auto a = w.child("a");
  CHECK(w.ask(terminate_child{"a"}));
  CHECK(w.state("a") == life::down);
  CHECK(w.ask(terminate_child{"a"}));
  CHECK(w.ask(terminate_child{"t"}));
  CHECK_FALSE(w.look("t"));
  CHECK(refused(w.ask(terminate_child{"nobody"}).error(), fault::not_found));
  CHECK(refused(w.ask(terminate_instance{a}).error(), fault::not_found));
}

TEST_CASE("S-58: restart_child only of a stopped child; a failing one leaves it stopped",
          "[dynamic]") {
  world w;
  auto broken = std::make_shared<bool>(false);
  w.rise({}, {{.id = "a", .start = [=, book = w.book](auto* sup) -> start_result {
    if (*broken)
      throw std::runtime_error("broken");
    return spawn(sup, obedient, book, "a");
  }}});
  CHECK(refused(w.ask<started>(restart_child{"a"}).error(), fault::running));
  CHECK(refused(w.ask<started>(restart_child{"b"}).error(), fault::not_found));
  REQUIRE(w.ask(terminate_child{"a"}));
  *broken = true;
  CHECK(refused(w.ask<started>(restart_child{"a"}).error(), fault::start_failed, "broken"));
  CHECK(w.state("a") == life::down);
  *broken = false;
  const auto again = w.ask<started>(restart_child{"a"});
  REQUIRE(again);
  CHECK(again->who == w.child("a"));
  CHECK(w.state("a") == life::up);
}

TEST_CASE("S-59: delete_child only of a stopped child", "[dynamic]") {
  world w;
  w.rise({}, {member("a", w.book)});
  CHECK(refused(w.ask(delete_child{"a"}).error(), fault::running));
  CHECK(refused(w.ask(delete_child{"b"}).error(), fault::not_found));
  REQUIRE(w.ask(terminate_child{"a"}));
  CHECK(w.ask(delete_child{"a"}));
  CHECK(w.count().specs == 0);
}

TEST_CASE("S-60: simple_one_for_one takes no orders by id and terminates by handle", "[dynamic]") {
  world w;
  w.rise({.how = strategy::simple_one_for_one}, {member("a", w.book)});
  const auto x = w.ask<started>(start_instance{})->who;
  CHECK(
      refused(w.ask<started>(start_child{member("b", w.book)}).error(), fault::simple_one_for_one));
  CHECK(refused(w.ask<started>(restart_child{"a"}).error(), fault::simple_one_for_one));
  CHECK(refused(w.ask(delete_child{"a"}).error(), fault::simple_one_for_one));
  CHECK(refused(w.ask(terminate_child{"a"}).error(), fault::simple_one_for_one));
  CHECK(w.ask(terminate_instance{x}));
  CHECK(w.count().workers == 0);
  CHECK(w.ask(terminate_instance{x})); // dead: fine
  auto stranger = w.system.spawn(obedient, w.book, "stranger");
  w.settle();
  w.told();
  CHECK(refused(w.ask(terminate_instance{stranger}).error(), fault::not_found));
  CHECK(w.told().empty()); // and it lives
  w.end(stranger, {});
}

TEST_CASE("S-61: simple_one_for_one passes start errors through as they are", "[dynamic]") {
  world w;
  w.rise({.how = strategy::simple_one_for_one}, {{.id = "a", .start = [](auto*) -> start_result {
    return make_error(fault::exception, "raw");
  }}});
  CHECK(refused(w.ask<started>(start_instance{}).error(), fault::exception, "raw"));
  CHECK(w.count().workers == 0);
}

TEST_CASE("S-62: which_children lists the newest first, with state and type", "[dynamic]") {
  world w;
  auto inner = member("b", w.book);
  inner.type = child_type::supervisor;
  w.rise({}, {member("a", w.book), inner, member("c", w.book)});
  w.ask(terminate_child{"a"});
  const auto all = w.all();
  REQUIRE(all.size() == 3);
  CHECK(all[0].id == "c");
  CHECK(all[1].id == "b");
  CHECK(all[1].type == child_type::supervisor);
  CHECK(all[2].id == "a");
  CHECK(all[2].state == life::down);
  CHECK_FALSE(all[2].who);
}

TEST_CASE("S-63: count_children is right for two thousand, workers or supervisors", "[dynamic]") {
  for (const auto type : {child_type::worker, child_type::supervisor}) {
    world w;
    auto spec = member("a", w.book, temporary);
    spec.type = type;
    w.rise({.how = strategy::simple_one_for_one}, {spec});
    std::vector<caf::actor> all;
    for (int i = 0; i < 2000; ++i)
      all.push_back(w.ask<started>(start_instance{})->who);
    auto counts = w.count();
    CHECK(counts.specs == 1);
    CHECK(counts.active == 2000);
    CHECK((type == child_type::worker ? counts.workers : counts.supervisors) == 2000);
    CHECK((type == child_type::worker ? counts.supervisors : counts.workers) == 0);
    for (auto& each : all)
      caf::anon_send(each, end_now{});
    w.settle();
    CHECK(w.count().active == 0);
    CHECK(w.count().workers + w.count().supervisors == 0);
  }
}

TEST_CASE("S-64: get_childspec answers the whole spec with its defaults, or not_found",
          "[dynamic]") {
  world w;
  w.rise({}, {member("a", w.book, transient)});
  const auto spec = w.ask<child_spec>(get_childspec{"a"});
  REQUIRE(spec);
  CHECK(spec->id == "a");
  CHECK(spec->restart == transient);
  CHECK(spec->shutdown);
  CHECK(spec->start);
  CHECK(refused(w.ask<child_spec>(get_childspec{"b"}).error(), fault::not_found));
  world v;
  v.rise({.how = strategy::simple_one_for_one}, {member("t", v.book)});
  CHECK(v.ask<child_spec>(get_childspec{"t"})->id == "t");
}

TEST_CASE("S-65: an order to a dead supervisor fails at once", "[dynamic]") {
  world w;
  w.rise({}, {});
  REQUIRE(w.ask(stop{}));
  const auto answer = w.ask<child_counts>(count_children{});
  REQUIRE_FALSE(answer);
  CHECK(answer.error() == caf::sec::request_receiver_down);
}

TEST_CASE("S-65: an order waits as long as it takes", "[dynamic]") {
  world w;
  auto patient = member("a", w.book);
  patient.shutdown = shutdown_policy::infinity();
  w.rise({}, {patient});
  const auto a = w.child("a");
  caf::anon_send(a, be_deaf{});
  int answers = 0, failures = 0;
  w.system.spawn([&, top = w.top](caf::event_based_actor* self) {
    for (int i = 0; i < 2; ++i) // the second waits for the first
      self->request(top, caf::infinite, terminate_child{"a"})
        .then([&] { ++answers; }, [&](caf::error&) { ++failures; });
  });
  w.settle();
  w.pass(24h * 365);
  CHECK(answers == 0);
  w.end(a, {});
  CHECK(answers == 2);
  CHECK(failures == 0);
}

TEST_CASE("S-66: of a temporary child neither start nor arguments are kept once it is up",
          "[dynamic]") {
  auto big = std::make_shared<int>(1); // stands for arguments that would be a leak
  for (const auto type : {temporary, permanent}) {
    world w;
    auto spec = member("a", w.book, type);
    spec.start = [big, book = w.book](auto* sup) { return spawn(sup, obedient, book, "a"); };
    w.rise({}, {});
    REQUIRE(w.ask<started>(start_child{std::move(spec)}));
    CHECK(big.use_count() == (type == temporary ? 1 : 2)); // while it lives
    CHECK(w.state("a") == life::up);
    {
      const auto told = w.ask<child_spec>(get_childspec{"a"});
      REQUIRE(told);
      CHECK(told->restart == type);
      CHECK(told->shutdown == shutdown_policy::after(5s));
      CHECK(static_cast<bool>(told->start) == (type == permanent));
    }
    w.end(w.child("a"), {});
    CHECK(big.use_count() == (type == temporary ? 1 : 2));
    CHECK(w.look("a").has_value() == (type == permanent)); // nor is its spec
  }
}

TEST_CASE("S-66: a temporary child that is not up yet may be started once more", "[dynamic]") {
  world w;
  auto big = std::make_shared<int>(1);
  auto starts = std::make_shared<int>(0);
  w.rise({.intensity = 9, .start_retries = 1}, {});
  w.ask<started>(start_child{
    {.id = "a", .start = [=, book = w.book](auto* sup) -> start_result {
       if (++*starts == 1)
         return make_error(fault::killed, "by accident");
       return spawn(sup, obedient, book, std::to_string(*big));
     }, .restart = temporary}});
  CHECK(big.use_count() == 2);
  w.pass(1s);
  CHECK(w.state("a") == life::up);
  CHECK(*starts == 2);
  CHECK(big.use_count() == 1);
}

TEST_CASE("S-66: nor is anything kept under simple_one_for_one, or behind a change", "[dynamic]") {
  world w;
  auto big = std::make_shared<int>(1);
  w.rise({.how = strategy::simple_one_for_one},
         {{.id = "a", .start = [book = w.book](auto* sup, const caf::message&) {
             return start_result{spawn(sup, obedient, book, "a")};
           }, .restart = temporary}});
  const auto x = w.ask<started>(start_instance{caf::make_message(load{big})});
  REQUIRE(x);
  CHECK(big.use_count() == 1); // while it lives
  CHECK(w.ask<child_spec>(get_childspec{"a"})->start);
  CHECK(w.ask<started>(start_instance{}));
  w.end(x->who, abnormal_reason);
  CHECK(w.count().active == 1);
  // One that turns temporary gives up its own; one that was temporary remains so without them.
  const auto change_to = [&](restart_type type) {
    auto spec = member("a", w.book, type);
    return w.ask(change{{.how = strategy::simple_one_for_one, .intensity = 9}, {spec}});
  };
  REQUIRE(change_to(permanent));
  const auto y = w.ask<started>(start_instance{caf::make_message(load{big})});
  REQUIRE(y);
  CHECK(big.use_count() == 2);
  REQUIRE(w.count().active == 2);
  for (const auto& each : w.all())
    w.end(each.who, abnormal_reason);
  CHECK(w.count().active == 1); // y again
  REQUIRE(change_to(temporary));
  CHECK(big.use_count() == 1);
}

TEST_CASE("S-68: flags and specs change at run time without starting or deleting a running child",
          "[dynamic]") {
  world w;
  w.rise({.intensity = 1}, {member("a", w.book), member("b", w.book)});
  const auto a = w.child("a");
  w.told();
  auto changed = member("a", w.book, temporary);
  REQUIRE(w.ask(
      change{{.how = strategy::one_for_all, .intensity = 5}, {changed, member("new", w.book)}}));
  CHECK(w.told().empty());
  CHECK(w.child("a") == a);
  CHECK(w.state("b") == life::up);      // not mentioned, not deleted
  CHECK(w.state("new") == life::down);  // mentioned, not started
  CHECK(w.ask<child_spec>(get_childspec{"a"})->restart == temporary);
  CHECK(w.ask<supervisor_options>(get_options{})->intensity == 5);
  CHECK(w.ask<started>(restart_child{"new"}));
  w.told();
  w.crash("b");
  CHECK(w.told() == "-b -new -a +b +new"); // the new strategy, the new restart type
}

TEST_CASE("S-68: a change that says nothing changes nothing", "[dynamic]") {
  world w;
  w.rise({.how = strategy::rest_for_one, .intensity = 7},
         {member("a", w.book), member("t", w.book, temporary)});
  const auto a = w.child("a"), t = w.child("t");
  w.told();
  const auto before = w.ask<supervisor_options>(get_options{});
  REQUIRE(before);
  REQUIRE(w.ask(change{*before, {}}));
  CHECK(w.told().empty());
  CHECK(w.child("a") == a);
  CHECK(w.child("t") == t);
  const auto after = w.ask<supervisor_options>(get_options{});
  CHECK(after->how == strategy::rest_for_one);
  CHECK(after->intensity == 7);
  CHECK(w.ask<child_spec>(get_childspec{"a"})->restart == permanent);
  CHECK(w.ask<child_spec>(get_childspec{"t"})->restart == temporary);
  w.crash("a");
  CHECK(w.told() == "-a -t +a");
}

TEST_CASE("S-68: a faulty change is refused as a whole", "[dynamic]") {
  world w;
  w.rise({.intensity = 3}, {member("a", w.book)});
  CHECK(refused(w.ask(change{{.period = 0ms}, {}}).error(), fault::bad_options, "invalid_period"));
  CHECK(refused(w.ask(change{{}, {member("x", w.book), member("x", w.book)}}).error(),
                fault::bad_spec, "duplicate_child_name"));
  CHECK(refused(w.ask(change{{.how = strategy::simple_one_for_one}, {member("a", w.book)}}).error(),
                fault::bad_options, "invalid_strategy"));
  CHECK(w.ask<supervisor_options>(get_options{})->intensity == 3);
  CHECK_FALSE(w.look("x"));
}

TEST_CASE("S-68: under simple_one_for_one the next restart uses the new spec", "[dynamic]") {
  world w;
  w.rise({.how = strategy::simple_one_for_one}, {member("old", w.book)});
  const auto x = w.ask<started>(start_instance{})->who;
  REQUIRE(w.ask(change{{.how = strategy::simple_one_for_one}, {member("new", w.book)}}));
  w.told();
  caf::anon_send(x, throw_now{"boom"});
  w.settle();
  CHECK(w.told() == "-old +new");
}

TEST_CASE("S-69: a supervisor tells what it was made of", "[dynamic]") {
  world w;
  w.rise({.name = "lanes", .how = strategy::rest_for_one}, {});
  const auto options = w.ask<supervisor_options>(get_options{});
  REQUIRE(options);
  CHECK(options->name == "lanes");
  CHECK(options->how == strategy::rest_for_one);
}

TEST_CASE("a subscriber learns of every child that is up and of each new handle", "[dynamic]") {
  world w;
  w.rise({}, {member("a", w.book)});
  auto story = std::make_shared<std::string>();
  auto listener = w.system.spawn([=](caf::event_based_actor*) -> caf::behavior {
    return {
        [=](const child_up& e) {
          *story += "up " + e.id + " " + std::to_string(e.restarts) + "; ";
        },
        [=](const child_down& e) { *story += "down " + e.id + " " + to_text(e.reason) + "; "; }};
  });
  REQUIRE(w.ask(subscribe{listener}));
  w.crash("a");
  CHECK(*story == "up a 0; down a exception: boom; up a 1; ");
}

TEST_CASE("a subscriber that went away is forgotten and kept alive by nobody", "[dynamic]") {
  world w;
  w.rise({}, {member("a", w.book)});
  auto alive = std::make_shared<int>(1);
  REQUIRE(w.ask(subscribe{w.system.spawn([alive](caf::event_based_actor*) -> caf::behavior {
    return {[alive](const child_up&) {}, [alive](const child_down&) {}};
  })}));
  w.settle();
  CHECK(alive.use_count() == 1);
  w.crash("a");
  CHECK(w.state("a") == life::up);
}

TEST_CASE("a name that another living actor has fails the start loudly", "[dynamic]") {
  world w;
  auto squatter = w.system.spawn(obedient, w.book, "squatter");
  REQUIRE_FALSE(w.registry->put("top/a", squatter));
  w.rise({.name = "top"}, {});
  CHECK(refused(w.ask<started>(start_child{member("a", w.book)}).error(), fault::start_failed,
                "name_taken: top/a"));
  CHECK(w.registry->find("top/a") == squatter);
  w.end(squatter, {});
  squatter = nullptr;
  CHECK(w.ask<started>(start_child{member("a", w.book)}));
  CHECK(w.registry->find("top/a") == w.child("a"));
  CHECK(w.ask(stop{}));
  CHECK(w.registry->count() == 0);
}
