// What the conductor decides, as tables: events in, commands out; no actor, clock or file.

#include "tests/actors/conducted.hpp"

using namespace viva;
using namespace viva::actors;
using namespace viva::testing;

TEST_CASE("policy: tickets go out when the job has started and lanes are up, two for each lane") {
  conducted job(5);
  job.policy.lane_up("a");
  CHECK(job.silent());
  job.policy.start();
  CHECK(job.shards_of(job.next<hand_out>()) == shard_list{0});
  CHECK(job.shards_of(job.next<hand_out>()) == shard_list{1});
  CHECK(job.silent());
  job.policy.lane_up("b");
  const auto third = job.next<hand_out>();
  CHECK(third.lane == "b");
  job.next<hand_out>();
  CHECK(job.silent());
  job.come_home(third);
  CHECK(job.next<hand_out>().lane == "b");
}

TEST_CASE("policy: a shard on which two devices broke, or that runs alone, is not for devices") {
  conducted job(1, {.strikes_max = 3, .device_deaths_max = 2});
  job.policy.start();
  for (const bool device : {true, true, true, false}) {
    job.policy.lane_up("cuda-0");
    const auto out = job.next<hand_out>();
    CHECK(out.tasks[0].device == device);
    if (!device)
      return job.come_home(out);
    // A lane that is killed meanwhile says nothing of its device.
    const bool broke = job.heard != 2;
    job.policy.lane_down("cuda-0", {broke ? 0 : no_shard, broke, "device_sticky", broke});
  }
}

TEST_CASE("policy: a suspect that runs alone is computed by the processor") {
  conducted job(1, {.strikes_max = 1, .device_deaths_max = 2});
  job.policy.start();
  job.policy.lane_up("cuda-0");
  const auto first = job.next<hand_out>();
  CHECK(first.tasks[0].device);
  job.policy.lane_down("cuda-0", {0, true, "device_sticky", true});
  job.next<open_isolation>();
  job.policy.lane_up(isolation_lane);
  CHECK_FALSE(job.next<hand_out>().tasks[0].device);
}

TEST_CASE("policy: the output gets its name only when every record is durable") {
  conducted job(2);
  job.policy.start();
  job.policy.lane_up("a");
  const auto one = job.next<hand_out>(), other = job.next<hand_out>();
  job.come_home(one);
  CHECK(job.silent());
  job.policy.tick();
  CHECK(job.next<save>().records.size() == 1);
  job.come_home(other);
  job.policy.tick(); // never two saves at once
  CHECK(job.silent());
  job.policy.saved({});
  CHECK(job.next<save>().records.size() == 1);
  CHECK(job.silent());
  job.policy.saved({});
  job.next<give_name>();
  CHECK(job.silent());
  job.policy.give_up({errc::job_failed, "no node is left"}); // for what is done and durable
  CHECK(job.silent());
  job.policy.named({});
  const auto answer = job.next<give_answer>();
  CHECK(answer.outcome.problem.code == errc::ok);
  CHECK(answer.outcome.commits == 2);
  CHECK(answer.outcome.messages == 2 * 2 + 2 * (2 + 1));
}

TEST_CASE("policy: after a save that failed nothing is saved, named or handed out again") {
  conducted job(4);
  job.policy.start();
  job.policy.lane_up("a");
  const auto one = job.next<hand_out>(), other = job.next<hand_out>();
  job.come_home(one);
  job.next<hand_out>();
  job.policy.tick();
  job.next<save>();
  job.policy.saved({errc::cannot_write, "input/output error"});
  CHECK(job.silent());
  job.come_home(other);
  CHECK(job.silent());
  job.policy.lane_down("a", {});
  CHECK(job.next<give_answer>().outcome.problem.code == errc::cannot_write);
}

TEST_CASE("policy: on a full disk what came home is still written down, then the job ends") {
  conducted job(4);
  job.policy.start();
  job.policy.lane_up("a");
  const auto one = job.next<hand_out>(), other = job.next<hand_out>();
  job.come_home(one);
  const auto third = job.next<hand_out>();
  job.policy.tick();
  job.next<save>();
  job.policy.saved({errc::disk_full, "in the reserve"});
  CHECK(job.silent());
  job.come_home(other);
  job.come_home(third);
  CHECK(job.next<save>().records.size() == 2);
  job.policy.saved({errc::disk_full, "in the reserve"});
  CHECK(job.next<give_answer>().outcome.problem.code == errc::disk_full);
}

TEST_CASE("policy: a lane's death costs the shard at work a strike, and none of those behind it") {
  conducted job(3);
  job.policy.start();
  job.policy.lane_up("a");
  const auto first = job.next<hand_out>();
  job.next<hand_out>();
  job.die(first);
  job.policy.tick();
  const auto records = job.next<save>().records;
  REQUIRE(records.size() == 1);
  CHECK(std::get<strike_record>(records[0]).shard == 0);
  CHECK(std::get<strike_record>(records[0]).reason == "crash");
  job.policy.saved({});
  job.policy.lane_up("a");
  CHECK(job.next<hand_out>().tasks[0].id == ticket{0, 2});
  CHECK(job.next<hand_out>().tasks[0].id == ticket{1, 2});
}

TEST_CASE("policy: a lane that refuses its shard ends the job, without a strike") {
  conducted job(3);
  job.policy.start();
  for (const auto* lane : {"a", "b"})
    job.policy.lane_up(lane);
  const auto first = job.next<hand_out>();
  job.next<hand_out>(); // to the same lane
  const auto other = job.next<hand_out>();
  lane_death refusal{first.tasks[0].id.shard, true, "bad_input: exit 73"};
  refusal.refuses = true;
  job.policy.lane_down(first.lane, refusal);
  job.policy.lane_up("c");
  CHECK(job.silent()); // it is not tried again, and nothing else is begun
  job.policy.lane_down(other.lane, {});
  const auto why = job.next<give_answer>().outcome.problem;
  CHECK(why.code == errc::job_failed);
  CHECK(why.text
        == "'weight': bytes 0 to 1048576: a lane refused them: bad_input: exit 73; check the "
           "source");
}

TEST_CASE("policy: a copy that came home is not harmed by a lane that refuses its shard") {
  conducted job(1);
  job.policy.start();
  job.policy.lane_up("a");
  const auto out = job.next<hand_out>();
  job.come_home(out);
  lane_death refusal{0, true, "bad_input: exit 73"};
  refusal.refuses = true;
  job.policy.lane_down("a", refusal);
  job.policy.tick();
  job.next<save>();
}

TEST_CASE("policy: deaths that blame no shard cost nobody a strike, however many") {
  conducted job(1);
  job.policy.start();
  for (int i = 0; i < 20; ++i) {
    job.policy.lane_up("a");
    job.die(job.next<hand_out>(), false);
  }
  job.policy.tick();
  CHECK(job.silent());
}

TEST_CASE("policy: three strikes, a lane of its own, quarantine; the others go on, the job fails") {
  conducted job(3);
  job.policy.start();
  for (int i = 0; i < 3; ++i) {
    job.policy.lane_up("a");
    const auto poison = job.next<hand_out>();
    CHECK(job.shards_of(poison) == shard_list{0});
    job.next<hand_out>();
    job.die(poison);
  }
  job.next<open_isolation>();
  CHECK(job.silent()); // asked for once
  job.policy.lane_up("a");
  CHECK(job.shards_of(job.next<hand_out>()) == shard_list{1});
  const auto last = job.next<hand_out>();
  CHECK(job.shards_of(last) == shard_list{2});
  job.policy.lane_up(isolation_lane);
  const auto alone = job.next<hand_out>();
  CHECK(alone.lane == isolation_lane);
  CHECK(job.shards_of(alone) == shard_list{0});
  job.die(alone);
  job.policy.lane_up(isolation_lane);
  CHECK(job.silent()); // it gets nothing that is not suspect
  batch_receipt both{"a", last.number - 1, {{{1, 1}, 1, {}, {}}}};
  job.policy.take_receipt(both);
  job.come_home(last);
  const auto records = job.next<save>().records;
  CHECK(records.size() == 4 + 1 + 2); // strikes, quarantine, done
  job.policy.saved({});
  const auto outcome = job.next<give_answer>().outcome;
  CHECK(outcome.problem.code == errc::job_failed);
  CHECK(outcome.problem.text.find("1 of 3 shards are in quarantine: 'weight': bytes 0 to 1048576: "
                                  "4 lanes died on them, the last of crash")
        == 0);
  CHECK(outcome.shards_quarantined == 1);
}

TEST_CASE("policy: a suspect that comes home from isolation is done like any other") {
  policy_options options;
  options.strikes_max = 1;
  conducted job(1, options);
  job.policy.start();
  job.policy.lane_up("a");
  job.die(job.next<hand_out>());
  job.next<open_isolation>();
  job.policy.lane_up(isolation_lane);
  job.come_home(job.next<hand_out>());
  job.next<save>();
  job.policy.saved({});
  job.next<give_name>();
}

TEST_CASE("policy: strict means that one shard in quarantine ends the job") {
  policy_options options;
  options.strikes_max = 1;
  options.quarantine_max = 0;
  conducted job(9, options);
  job.policy.start();
  job.policy.lane_up("a");
  job.die(job.next<hand_out>());
  job.heard = job.said.size(); // the second batch, which died with the lane
  job.policy.lane_up(isolation_lane);
  job.next<open_isolation>();
  const auto alone = job.next<hand_out>();
  job.die(alone);
  CHECK(job.next<save>().records.size() == 3);
  job.policy.saved({});
  CHECK(job.next<give_answer>().outcome.problem.code == errc::job_failed);
}

TEST_CASE("policy: what an earlier life knew holds: done, strikes, quarantine") {
  earlier_run earlier;
  earlier.done = {{1, 8, {}}};
  earlier.strikes = {{0, "crash"}, {0, "crash"}, {2, "odd"}};
  earlier.quarantined = {{2, "'weight'"}};
  conducted job(4, {}, earlier);
  job.policy.start();
  job.policy.lane_up("a");
  const auto struck = job.next<hand_out>();
  CHECK(job.shards_of(struck) == shard_list{0});
  CHECK(job.shards_of(job.next<hand_out>()) == shard_list{3});
  CHECK(job.silent());
  job.die(struck); // its third
  job.next<open_isolation>();
}

TEST_CASE("policy: two runs of a shard that differ are an alarm, two that agree are one") {
  const bool agree = GENERATE(true, false);
  earlier_run earlier;
  earlier.damaged = {{0, agree ? 7u : 6u, {}}}; // its bytes are gone, its checksum is known
  conducted job(2, {}, earlier);
  job.policy.start();
  job.policy.lane_up("a");
  const auto one = job.next<hand_out>(), other = job.next<hand_out>();
  job.come_home(one);
  job.come_home(other);
  const auto records = job.next<save>().records;
  job.policy.saved({});
  if (agree) {
    job.next<give_name>();
  } else {
    CHECK(records.size() == 1);
    CHECK(job.next<give_answer>().outcome.problem.text.find("different bytes")
          != std::string::npos);
  }
}

TEST_CASE("policy: a journal that does not keep up stops the tickets, not the memory") {
  policy_options options;
  options.unsaved_bytes_max = 10;
  conducted job(9, options);
  job.policy.start();
  job.policy.lane_up("a");
  const auto one = job.next<hand_out>(), other = job.next<hand_out>();
  job.policy.take_receipt({"a", one.number, {{one.tasks[0].id, 7, std::string(11, 'x'), {}}}});
  CHECK(job.next<save>().records.size() == 1); // at once
  const auto third = job.next<hand_out>();
  job.policy.take_receipt({"a", other.number, {{other.tasks[0].id, 8, std::string(11, 'x'), {}}}});
  CHECK(job.silent()); // that save is not back
  job.come_home(third);
  CHECK(job.silent());
  job.policy.saved({});
  CHECK(job.next<save>().records.size() == 2);
  CHECK(job.next<hand_out>().tasks.size() == 1);
}

TEST_CASE("policy: stopped, it hands out nothing more and answers when all is home and durable") {
  conducted job(5);
  job.policy.start();
  job.policy.lane_up("a");
  const auto one = job.next<hand_out>(), other = job.next<hand_out>();
  job.policy.stop();
  job.come_home(one);
  CHECK(job.silent());
  job.come_home(other);
  CHECK(job.next<save>().records.size() == 2);
  job.policy.saved({});
  CHECK(job.next<give_answer>().outcome.problem.code == errc::interrupted);
}

TEST_CASE("policy: the lowest shard with a problem speaks for the job") {
  conducted job(5);
  job.policy.start();
  job.policy.lane_up("a");
  const auto one = job.next<hand_out>(), other = job.next<hand_out>();
  const auto refuse = [&](const hand_out& out, const char* why) {
    job.policy.take_receipt({"a", out.number, {{out.tasks[0].id, 0, {}, {errc::bad_shape, why}}}});
  };
  refuse(other, "b");
  refuse(one, "a");
  CHECK(job.next<give_answer>().outcome.problem.text == "a");
}
