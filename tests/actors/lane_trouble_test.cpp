// How long a job bears lanes that end over and over, or that are not to be had.

#include "tests/actors/conducted.hpp"

using namespace viva;
using namespace viva::actors;
using namespace viva::testing;

namespace {

/// One shard for one lane, which ends; then the next.
void end_once(conducted& job, const std::string& lane, bool blames_shard = false) {
  job.policy.lane_up(lane);
  job.die(job.next<hand_out>(), blames_shard);
}

/// Starts the job, of two shards and one strike, whose first shard kills its lane: the isolation
/// lane is asked for.
void make_suspect(conducted& job) {
  job.policy.start();
  job.policy.lane_up("a");
  const auto poison = job.next<hand_out>();
  job.next<hand_out>();
  job.die(poison);
  job.next<open_isolation>();
}

} // namespace

TEST_CASE("policy: a lane that ends over and over, while nothing comes home, ends the job") {
  conducted job(1, {.lane_ends_max = 20});
  job.policy.start();
  for (int i = 0; i < 20; ++i)
    end_once(job, "a");
  CHECK(job.silent());
  end_once(job, "a");
  const auto why = job.next<give_answer>().outcome.problem;
  CHECK(why.code == errc::job_failed);
  CHECK(why.text
        == "a ended 21 times while no lane brought anything home, the last time of crash. What is "
           "done is kept: mend that, and run the same command again");
}

TEST_CASE("policy: a thousand lanes that are lost together are no loop, nor is one among others") {
  conducted job(2, {.lane_ends_max = 20});
  job.policy.start();
  SECTION("each is counted for itself") {
    for (int i = 0; i < 1000; ++i) {
      const auto lane = std::to_string(i);
      job.policy.lane_up(lane);
      job.next<hand_out>();
      job.next<hand_out>();
      job.policy.lane_down(lane, {no_shard, false, "node_lost"});
    }
    CHECK(job.silent());
  }
  SECTION("what comes home from anybody begins the count anew") {
    job.policy.lane_up("good");
    const auto first = job.next<hand_out>(), second = job.next<hand_out>();
    const auto idle_ends = [&](int times) {
      for (int i = 0; i < times; ++i) {
        job.policy.lane_up("bad");
        job.policy.lane_down("bad", {no_shard, false, "temporary: exit 75"});
      }
    };
    idle_ends(20);
    job.come_home(first);
    idle_ends(20);
    CHECK(job.silent());
    idle_ends(1);
    CHECK(job.silent()); // the job is over when what is out is home
    job.come_home(second);
    job.next<save>();
    job.policy.saved({});
    CHECK(job.next<give_answer>().outcome.problem.text.find("bad ended 21 times") == 0);
  }
}

TEST_CASE("policy: ends that strike a shard are not counted: they lead into quarantine") {
  conducted job(1, {.strikes_max = 50, .lane_ends_max = 20});
  job.policy.start();
  for (int i = 0; i < 50; ++i)
    end_once(job, "a", true);
  job.next<open_isolation>();
}

TEST_CASE("policy: an isolation lane that is refused is asked for again, and costs no strike") {
  conducted job(2, {.strikes_max = 1, .isolation_ticks_max = 4});
  make_suspect(job);
  job.policy.isolation_refused("no more processes");
  CHECK(job.silent()); // not at once
  const auto saved = [&] {
    CHECK(job.next<save>().records.size() == 1);
    job.policy.saved({});
  };
  SECTION("and gets the suspect when it comes") {
    job.policy.tick();
    saved();
    job.next<open_isolation>();
    job.policy.tick();
    CHECK(job.silent()); // one order at a time
    job.policy.isolation_refused("no more processes");
    job.policy.tick();
    job.next<open_isolation>();
    job.policy.lane_up(isolation_lane);
    const auto alone = job.next<hand_out>();
    CHECK(job.shards_of(alone) == shard_list{0});
    job.die(alone, false); // stopped by somebody
    job.policy.lane_up(isolation_lane);
    job.come_home(job.next<hand_out>());
    for (int i = 0; i < 9; ++i)
      job.policy.tick();
    CHECK(job.next<save>().records.size() == 1);
    CHECK(job.silent()); // what was refused long ago counts no more
  }
  SECTION("until it was not to be had for too long") {
    for (int i = 0; i < 4; ++i) {
      job.policy.tick();
      if (i == 0)
        saved();
      job.next<open_isolation>();
      job.policy.isolation_refused("no more processes");
    }
    job.policy.tick();
    const auto answer = job.next<give_answer>().outcome;
    CHECK(answer.problem.code == errc::job_failed);
    CHECK(answer.problem.text.find("none could be started: no more processes")
          != std::string::npos);
    CHECK(answer.shards_quarantined == 0);
  }
}

TEST_CASE("policy: a job whose lanes are gone, and cannot be started again, ends with words") {
  conducted job(2, {.away_ticks_max = 5});
  job.policy.start();
  const auto ticks = [&](int times) {
    for (int i = 0; i < times; ++i)
      job.policy.tick();
  };
  SECTION("one that none ever came to") {
    ticks(5);
    CHECK(job.silent());
    ticks(1);
    const auto why = job.next<give_answer>().outcome.problem;
    CHECK(why.text.find("no lane came up, for too long (none ever was). What") == 0);
  }
  SECTION("counted anew whenever one is up") {
    ticks(4);
    job.policy.lane_up("a");
    ticks(9); // it has both shards, and takes its time
    job.die(job.next<hand_out>(), false);
    job.next<hand_out>();
    ticks(5);
    CHECK(job.silent());
    ticks(1);
    const auto why = job.next<give_answer>().outcome.problem;
    CHECK(why.code == errc::job_failed);
    CHECK(why.text.find("(a ended last, of crash). What is done is kept") != std::string::npos);
  }
}

TEST_CASE("policy: an isolation lane that came up and never comes back ends the job") {
  conducted job(2, {.strikes_max = 1, .isolation_away_ticks_max = 5, .away_ticks_max = 0});
  make_suspect(job);
  job.policy.lane_up(isolation_lane);
  const auto alone = job.next<hand_out>();
  job.policy.lane_up("a");
  job.come_home(job.next<hand_out>());
  job.die(alone, false); // stopped by somebody, and its restarts fail
  for (int i = 0; i < 6; ++i)
    job.policy.tick();
  CHECK(job.next<save>().records.size() == 2); // the shard, and the strike of the other
  job.policy.saved({});
  const auto why = job.next<give_answer>().outcome.problem;
  CHECK(why.text.find("no lane for shards that killed others came up") == 0);
}

TEST_CASE("policy: a job that waits for its disk alone needs no lane") {
  conducted job(1, {.away_ticks_max = 2});
  job.policy.start();
  job.policy.lane_up("a");
  job.come_home(job.next<hand_out>());
  job.next<save>();
  job.policy.lane_down("a", {no_shard, false, "stopped"});
  for (int i = 0; i < 9; ++i)
    job.policy.tick();
  CHECK(job.silent());
  job.policy.saved({});
  job.next<give_name>();
}
