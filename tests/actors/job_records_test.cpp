// What the conductor has written down: of which runs, and what of it a full disk keeps out.

#include "tests/actors/conducted.hpp"

using namespace viva;
using namespace viva::actors;
using namespace viva::testing;

TEST_CASE("policy: what a full disk left out is saved once more, with what came home meanwhile") {
  conducted job(4);
  job.policy.start();
  job.policy.lane_up("a");
  const auto one = job.next<hand_out>(), other = job.next<hand_out>();
  job.come_home(one);
  const auto third = job.next<hand_out>();
  job.policy.tick();
  const auto first = job.next<save>().records;
  job.policy.saved({errc::disk_full, "no space"}, first);
  job.die(other); // third is lost with it
  job.policy.lane_up("a");
  const auto again = job.next<save>().records;
  REQUIRE(again.size() == 2);
  CHECK(std::get<done_record>(again[0]).shard == one.tasks[0].id.shard);
  CHECK(std::get<strike_record>(again[1]).shard == other.tasks[0].id.shard);
  SECTION("and fits now") {
    job.policy.saved({errc::disk_full, "no space"});
    CHECK(job.next<give_answer>().outcome.problem.text == "no space");
  }
  SECTION("and is computed again where it still does not, which the job says") {
    job.policy.saved({errc::disk_full, "no space"}, {again[0]});
    const auto problem = job.next<give_answer>().outcome.problem;
    CHECK(problem.code == errc::disk_full);
    CHECK(problem.text == "no space; 1 records did not fit, their shards are computed again");
  }
}

TEST_CASE("policy: records say which run came home and which died; quarantine the last reasons") {
  conducted job(2, {.strikes_max = 5});
  job.policy.start();
  for (std::uint32_t run = 1; run <= 6; ++run) {
    job.policy.lane_up(run <= 5 ? "a" : isolation_lane);
    const auto poison = job.next<hand_out>();
    REQUIRE(job.shards_of(poison) == shard_list{0});
    if (run <= 5)
      job.next<hand_out>(); // the other waits behind it and is lost with the lane
    const auto reason = "crash " + std::string(run, 'x') + std::string(run == 5 ? 5000 : 0, 'y');
    job.policy.lane_down(poison.lane, {0, true, reason});
    if (run == 5)
      job.next<open_isolation>();
  }
  job.policy.lane_up("a");
  const auto other = job.next<hand_out>();
  CHECK(other.tasks[0].id == ticket{1, 6});
  job.come_home(other);
  const auto records = job.next<save>().records;
  REQUIRE(records.size() == 6 + 1 + 1);
  for (std::uint32_t i = 0; i < 6; ++i)
    CHECK(std::get<strike_record>(records[i]).run == i + 1);
  const auto& reasons = std::get<quarantine_record>(records[6]).reasons;
  REQUIRE(reasons.size() == 4);
  CHECK(reasons[0] == "crash xxx");
  CHECK(reasons[2].size() < 1100); // a lane may die of a long story
  CHECK(reasons[3] == "crash xxxxxx");
  CHECK(std::get<done_record>(records[7]).run == 6);
}

TEST_CASE("policy: what a lane told counts only while it is not known as dead") {
  conducted job(2);
  job.policy.start();
  job.policy.lane_up("a");
  const auto one = job.next<hand_out>(), other = job.next<hand_out>();
  const bool blamed = GENERATE(true, false);
  job.die(one, blamed);
  job.come_home(one);   // sent before it died, and overtaken
  job.come_home(other);
  job.policy.lane_up("a");
  job.come_home(one); // nor is it the next life's
  const auto again = job.next<hand_out>();
  CHECK(again.tasks[0].id == ticket{0, 2});
  job.come_home(again);
  job.come_home(job.next<hand_out>());
  const auto records = job.next<save>().records;
  REQUIRE(records.size() == (blamed ? 3 : 2));
  CHECK(std::get<done_record>(records.back()).run == 2);
}
