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
  std::string turn(std::size_t lane) {
    const auto got = work.turn(lane, life[lane]).next;
    return got ? static_cast<const diarist&>(*got).name : "";
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
  const unit_ptr one[] = {paper("a")};
  o.work.submit(one);
  CHECK(o.wakes[0] + o.wakes[1] == 1);
  const unit_ptr three[] = {paper("b"), paper("c"), paper("d")};
  o.work.submit(three);
  CHECK(o.wakes[0] == 1);
  CHECK(o.wakes[1] == 1);
  CHECK(o.turn(0) == "a");
  CHECK(o.turn(0) == "b");
  CHECK(o.turn(1) == "c");
  CHECK(o.turn(1) == "d");
  CHECK(o.turn(1).empty());
  o.work.submit(one);
  CHECK(o.wakes[1] == 2);
  CHECK(o.work.count().units == 3); // a, c and d; b is still lane 0's
}

TEST_CASE("desk: work that came before any lane wakes the first that comes") {
  office o;
  const unit_ptr one[] = {paper("a")};
  o.work.submit(one);
  o.up(1);
  CHECK(o.wakes[1] == 1);
  CHECK(o.turn(1) == "a");
}

TEST_CASE("desk: urgent first, and first come first served among equals") {
  office o;
  o.up(0);
  const unit_ptr units[] = {paper("low", urgency::low), paper("first"), paper("second"),
                            paper("high", urgency::high)};
  o.work.submit(units);
  CHECK(o.turn(0) == "high");
  CHECK(o.turn(0) == "first");
  CHECK(o.turn(0) == "second");
  CHECK(o.turn(0) == "low");
}

TEST_CASE("desk: what a dead lane had goes to the front; what it had begun is told so") {
  office o;
  o.up(0);
  const auto a = paper("a"), b = paper("b");
  const unit_ptr units[] = {a, b};
  o.work.submit(units);
  CHECK(o.turn(0) == "a");
  a->begun = true;
  o.work.lane_down(0, true);
  CHECK(a->told == "lose ");
  o.up(0);
  CHECK(o.turn(0) == "a");
  o.work.lane_down(0, true); // not begun: no blame
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
  const unit_ptr units[] = {a, b};
  o.work.submit(units);
  for (int i = 0; i < 3; ++i) {
    o.up(0);
    CHECK(o.turn(0) == "a");
    a->begun = true;
    o.work.lane_down(0, true);
  }
  CHECK(a->told == "lose lose fail:job_failed:begun ");
  const auto c = paper("c", urgency::high);
  const unit_ptr killed[] = {c};
  o.work.submit(killed);
  for (int i = 0; i < 9; ++i) { // by others than itself
    o.up(0);
    CHECK(o.turn(0) == "c");
    c->begun = true;
    o.work.lane_down(0, false);
  }
  CHECK(c->runs_lost == 0);
  o.up(0);
  CHECK(o.turn(0) == "c");
  CHECK(o.turn(0) == "b");
}

TEST_CASE("desk: a lane given up for dead has no unit to finish and gets none") {
  office o;
  o.up(0);
  const unit_ptr units[] = {paper("a"), paper("b")};
  o.work.submit(units);
  CHECK(o.turn(0) == "a");
  const auto old = o.life[0];
  o.work.lane_down(0, true);
  o.up(0);
  CHECK(o.turn(0) == "a");
  const auto late = o.work.turn(0, old);
  CHECK_FALSE(late.mine);
  CHECK(late.next == nullptr);
  const auto now = o.work.turn(0, o.life[0]);
  CHECK(now.mine);
  CHECK(now.next == units[1]);
}

TEST_CASE("desk: closed, everything in line fails once, and what comes later") {
  office o;
  o.up(0);
  const auto a = paper("a"), b = paper("b"), c = paper("c");
  const unit_ptr units[] = {a, b}, late[] = {c};
  o.work.submit(units);
  CHECK(o.turn(0) == "a");
  o.work.close({errc::interrupted, "closed"});
  o.work.submit(late);
  CHECK(b->told == "fail:interrupted ");
  CHECK(c->told == "fail:interrupted ");
  CHECK(a->told.empty()); // the lane's to finish
  o.work.lane_down(0, true);
  CHECK(a->told == "fail:interrupted ");
}
