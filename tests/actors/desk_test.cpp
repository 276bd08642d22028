#include "actors/pipeline/desk.hpp"
#include "tests/support/catch.hpp"

#include <string>
#include <vector>

using namespace viva;
using namespace viva::actors;

namespace {

/// Writes down what it is told.
struct diarist final : unit {
  explicit diarist(std::string id) : name(std::move(id)) {
  }
  bool begin() noexcept override {
    return true;
  }
  unit_tally run(const lane_floor&) override {
    return {};
  }
  void finish() noexcept override {
    told += "finish ";
  }
  void lose() noexcept override {
    told += "lose ";
  }
  void fail(const error& why, bool was_begun) noexcept override {
    told += std::string("fail:") + std::string(to_string(why.code)) + (was_begun ? ":begun " : " ");
  }
  const void* home() const noexcept override {
    return from;
  }
  const void* from = nullptr;
  std::string name, told;
};

struct office {
  desk work{2, 3};
  int wakes[2] = {0, 0};
  std::uint64_t life[2] = {0, 0};

  void up(std::size_t lane) {
    life[lane] = work.begin_life(lane);
    work.lane_up(lane, [this, lane] { ++wakes[lane]; });
  }
  void give(handful units) {
    work.submit(units);
  }
  std::string turn(std::size_t lane, std::size_t light_max = 1) {
    handful got;
    work.turn(lane, life[lane], got, light_max);
    std::string names;
    for (const auto& each : got)
      names += static_cast<const diarist&>(*each).name;
    return names;
  }
};

std::shared_ptr<diarist> paper(std::string name, urgency how = urgency::normal) {
  auto result = std::make_shared<diarist>(std::move(name));
  result->how_urgent = how;
  return result;
}

} // namespace

TEST_CASE("desk: sleepers are woken for as many units as there are, and only while they sleep") {
  office o;
  o.up(0);
  o.up(1);
  o.give({paper("a")});
  CHECK(o.wakes[0] + o.wakes[1] == 1);
  o.give({paper("b"), paper("c"), paper("d")});
  CHECK(o.wakes[0] == 1);
  CHECK(o.wakes[1] == 1);
  CHECK(o.turn(0) == "a");
  CHECK(o.turn(0) == "b");
  CHECK(o.turn(1) == "c");
  CHECK(o.turn(1) == "d");
  CHECK(o.turn(1).empty());
  o.give({paper("e")});
  CHECK(o.wakes[1] == 2);
  CHECK(o.work.count().units == 3); // a, c and d; b is still lane 0's
}

TEST_CASE("desk: work that came before any lane wakes the first that comes") {
  office o;
  o.give({paper("a")});
  o.up(1);
  CHECK(o.wakes[1] == 1);
  CHECK(o.turn(1) == "a");
}

TEST_CASE("desk: urgent first, and first come first served among equals") {
  office o;
  o.up(0);
  o.give({paper("low", urgency::low), paper("first"), paper("second"),
          paper("high", urgency::high)});
  CHECK(o.turn(0) == "high");
  CHECK(o.turn(0) == "first");
  CHECK(o.turn(0) == "second");
  CHECK(o.turn(0) == "low");
}

TEST_CASE("desk: what a dead lane had goes to the front; what it had begun is told so") {
  office o;
  o.up(0);
  const auto a = paper("a"), b = paper("b");
  o.give({a, b});
  CHECK(o.turn(0) == "a");
  a->begun = a->at_work = true;
  o.work.lane_down(0, true, "of a test");
  CHECK(a->told == "lose ");
  o.up(0);
  CHECK(o.turn(0) == "a");
  o.work.lane_down(0, true, "of a test"); // not begun: no blame
  CHECK(a->told == "lose ");
  CHECK(a->runs_lost == 1);
  o.up(1);
  CHECK(o.turn(1) == "a");
  CHECK(o.turn(1) == "b");
  CHECK(o.work.count().lost == 2);
}

TEST_CASE("desk: a unit that ended three lanes fails, and the rest goes on") {
  office o;
  const auto a = paper("a"), b = paper("b");
  o.give({a, b});
  for (int i = 0; i < 3; ++i) {
    o.up(0);
    CHECK(o.turn(0) == "a");
    a->begun = a->at_work = true;
    o.work.lane_down(0, true, "of a test");
  }
  CHECK(a->told == "lose lose fail:job_failed:begun ");
  const auto c = paper("c", urgency::high);
  o.give({c});
  for (int i = 0; i < 9; ++i) { // by others than itself
    o.up(0);
    CHECK(o.turn(0) == "c");
    c->begun = c->at_work = true;
    o.work.lane_down(0, false, "of a test");
  }
  CHECK(c->runs_lost == 0);
  o.up(0);
  CHECK(o.turn(0) == "c");
  CHECK(o.turn(0) == "b");
}

TEST_CASE("desk: a lane given up for dead has no unit to finish and gets none") {
  office o;
  o.up(0);
  const auto b = paper("b");
  o.give({paper("a"), b});
  CHECK(o.turn(0) == "a");
  const auto old = o.life[0];
  o.work.lane_down(0, true, "of a test");
  o.up(0);
  CHECK(o.turn(0) == "a");
  handful late, now;
  CHECK_FALSE(o.work.turn(0, old, late));
  CHECK(late.empty());
  CHECK(o.work.turn(0, o.life[0], now));
  CHECK(now == handful{b});
}

TEST_CASE("desk: closed, everything in line fails once, and what comes later") {
  office o;
  o.up(0);
  const auto a = paper("a"), b = paper("b"), c = paper("c");
  o.give({a, b});
  CHECK(o.turn(0) == "a");
  o.work.close({errc::interrupted, "closed"});
  o.give({c});
  CHECK(b->told == "fail:interrupted ");
  CHECK(c->told == "fail:interrupted ");
  CHECK(a->told.empty()); // the lane's to finish
  o.work.lane_down(0, true, "of a test");
  CHECK(a->told == "fail:interrupted ");
}

TEST_CASE("desk: light units are handed out together, up to one that is not or is more urgent") {
  office o;
  o.up(0);
  const auto light = [](std::string name, urgency how = urgency::normal) {
    auto result = paper(std::move(name), how);
    result->light = true;
    return result;
  };
  o.give({light("a"), light("b"), light("c"), paper("D"), light("e"), paper("F"),
          light("g", urgency::low)});
  CHECK(o.turn(0, 2) == "ab");
  CHECK(o.turn(0, 8) == "c");
  CHECK(o.turn(0, 8) == "D");
  CHECK(o.turn(0) == "e");
  CHECK(o.work.count().units == 4); // e is still the lane's
  CHECK(o.turn(0, 8) == "F");
  CHECK(o.turn(0, 8) == "g");
  CHECK(o.work.count().hands == 6);
}

TEST_CASE("desk: of what a dead lane had together only what it was at is blamed, and all go back") {
  office o;
  o.up(0);
  const auto a = paper("a"), b = paper("b"), c = paper("c"), gone = paper("gone");
  for (const auto& each : {a, b, c, gone})
    each->light = true;
  o.give({a, gone, b, c});
  CHECK(o.turn(0, 8) == "agonebc");
  a->begun = true; // it has run
  o.work.let_go(0, o.life[0], *gone); // answered by itself
  b->begun = b->at_work = true;
  o.work.lane_down(0, true, "of a test");
  CHECK(a->told == "lose ");
  CHECK(b->told == "lose ");
  CHECK(c->told.empty());
  CHECK(a->runs_lost == 0);
  CHECK(b->runs_lost == 1);
  CHECK_FALSE((a->begun || b->begun || b->at_work));
  o.up(1);
  CHECK(o.turn(1, 8) == "abc");
}

TEST_CASE("desk: what waits for one lane alone is as urgent as what any may do") {
  office o;
  o.up(0);
  const auto only = [](std::string name, urgency how) {
    auto result = paper(std::move(name), how);
    result->only_lane = 0;
    return result;
  };
  o.give({only("low", urgency::low), only("mine", urgency::normal), paper("any"),
          paper("high", urgency::high), only("mine,high", urgency::high)});
  for (const auto* name : {"mine,high", "high", "mine", "any", "low", ""})
    CHECK(o.turn(0) == name);
}

TEST_CASE("desk: what is withdrawn fails at once, but for what a lane has, and others stay") {
  office o;
  o.up(0);
  const int here = 0, elsewhere = 0;
  const auto from = [](const int& place, std::string name) {
    auto result = paper(std::move(name));
    result->from = &place;
    return result;
  };
  const auto at_work = from(here, "a"), waits = from(here, "b"), alone = from(here, "c"),
             other = from(elsewhere, "d");
  alone->only_lane = 1; // which is down
  o.give({at_work, waits, alone, other});
  CHECK(o.turn(0) == "a");
  o.work.withdraw(&here, {errc::interrupted, "of a test"});
  CHECK(at_work->told.empty());
  CHECK(waits->told == "fail:interrupted ");
  CHECK(alone->told == "fail:interrupted ");
  CHECK(other->told.empty());
  CHECK(o.work.count().waiting == 1);
  CHECK(o.turn(0) == "d");
  o.up(1);
  CHECK(o.turn(1).empty());
}
