// Shards that are late with one lane, and what another lane is given of them.

#include "tests/actors/conducted.hpp"

using namespace viva;
using namespace viva::actors;
using namespace viva::testing;

TEST_CASE("policy: what is late with one lane is given to one without work, and the first counts") {
  policy_options options;
  options.lost_runs = losers::harmless;
  conducted job(3, options);
  job.policy.start();
  job.policy.lane_up("slow");
  job.policy.lane_up("swift");
  std::vector<hand_out> slow, swift;
  for (int i = 0; i < 3; ++i) {
    const auto out = job.next<hand_out>();
    (out.lane == "slow" ? slow : swift).push_back(out);
  }
  REQUIRE_FALSE(slow.empty());
  REQUIRE_FALSE(swift.empty());
  for (const auto& each : swift)
    job.come_home(each);
  for (int i = 0; i < 4; ++i) { // not late yet
    job.policy.tick();
    if (i == 0)
      job.next<save>();
    job.policy.saved({});
    CHECK(job.silent());
  }
  job.policy.tick();
  const auto copy = job.next<hand_out>();
  CHECK(copy.lane == "swift");
  CHECK(job.shards_of(copy) == job.shards_of(slow[0]));
  CHECK(copy.tasks[0].id.run == 2);
  job.policy.tick();
  CHECK(job.silent()); // once
  SECTION("the copy comes home, and the job does not wait for the other") {
    job.come_home(copy);
    if (slow.size() > 1) {
      job.policy.lane_down("slow", {slow[1].tasks[0].id.shard, false, "lost"});
      job.come_home(job.next<hand_out>());
    }
    CHECK(job.next<save>().records.size() == slow.size());
    job.policy.saved({});
    job.next<give_name>();
    job.come_home(slow[0]); // late, and of the same bytes
    CHECK(job.silent());
    job.policy.named({});
    const auto answer = job.next<give_answer>().outcome;
    CHECK(answer.problem.code == errc::ok);
    CHECK(answer.copies == 1);
    CHECK(answer.retries == slow.size() - 1);
  }
  SECTION("the copy came out otherwise than what is done, and the job says so") {
    job.come_home(slow[0]);
    job.policy.take_receipt(
      {copy.lane, copy.number, {{copy.tasks[0].id, 0, {}, {errc::job_failed, "otherwise"}, {}}}});
    for (std::size_t i = 1; i < slow.size(); ++i)
      job.come_home(slow[i]);
    job.next<save>();
    job.policy.saved({});
    CHECK(job.next<give_answer>().outcome.problem.code == errc::job_failed);
  }
  SECTION("the copy's lane dies, and the shard is still with the other") {
    job.die(copy, false);
    CHECK(job.silent());
    job.die(slow[0], false);
    job.policy.lane_up("third");
    CHECK(job.next<hand_out>().lane == "third");
  }
}

namespace {

/// A job of two shards that is done but for its name: "slow" still has one that "swift" did.
hand_out let_one_lose(conducted& job) {
  job.policy.start();
  job.policy.lane_up("slow");
  const auto lost = job.next<hand_out>(), other = job.next<hand_out>();
  job.come_home(other);
  job.policy.lane_up("swift");
  for (int i = 0; i < 5; ++i) {
    job.policy.tick();
    if (i == 0)
      job.next<save>();
    job.policy.saved({});
  }
  const auto copy = job.next<hand_out>();
  REQUIRE(copy.lane == "swift");
  job.come_home(copy);
  CHECK(job.next<save>().records.size() == 1);
  job.policy.saved({});
  return lost;
}

} // namespace

TEST_CASE("policy: no output gets its name while a lane may still write into it") {
  policy_options options;
  SECTION("a thread is waited for, and what it brings is compared") {
    conducted job(2, options);
    const auto lost = let_one_lose(job);
    CHECK(job.silent());
    SECTION("the same bytes") {
      job.come_home(lost);
      job.next<give_name>();
    }
    SECTION("others") {
      job.policy.take_receipt({lost.lane, lost.number, {{lost.tasks[0].id, 1, {}, {}}}});
      CHECK(job.next<give_answer>().outcome.problem.text.find("two runs gave different bytes")
            != std::string::npos);
    }
    SECTION("or it dies") {
      job.die(lost);
      job.next<give_name>();
    }
  }
  SECTION("a process is ended, once") {
    options.lost_runs = losers::ended;
    conducted job(2, options);
    const auto lost = let_one_lose(job);
    CHECK(job.next<end_lane>().lane == "slow");
    job.policy.tick();
    CHECK(job.silent());
    SECTION("and the name given when it has ended") {
      job.policy.lane_down("slow", {no_shard, false, "shutdown"});
      job.next<give_name>();
    }
    SECTION("or told before") {
      job.come_home(lost);
      job.next<give_name>();
    }
  }
}

TEST_CASE("policy: what takes as long as its like is not late, and a tenth is done twice at most") {
  conducted job(8);
  job.policy.start();
  job.policy.lane_up("a");
  job.policy.lane_up("b");
  std::vector<hand_out> out;
  for (int i = 0; i < 4; ++i)
    out.push_back(job.next<hand_out>());
  for (std::size_t done = 0; done < 4; ++done) {
    for (int i = 0; i < 6; ++i)
      job.policy.tick();
    job.come_home(out[done]);
    while (!job.silent())
      if (const auto* more = std::get_if<hand_out>(&job.said[job.heard++]))
        out.push_back(*more);
      else
        job.policy.saved({});
  }
  REQUIRE(out.size() == 8); // nothing waits
  const auto slow = out[7].lane;
  std::size_t left = 0;
  for (std::size_t i = 4; i < 8; ++i)
    out[i].lane != slow ? job.come_home(out[i]) : static_cast<void>(++left);
  REQUIRE(left == 2);
  const auto copies = [&](int ticks) {
    std::vector<hand_out> all;
    for (int i = 0; i < ticks; ++i) {
      job.policy.tick();
      while (!job.silent())
        if (const auto* one = std::get_if<hand_out>(&job.said[job.heard++]))
          all.push_back(*one);
        else
          job.policy.saved({});
    }
    return all;
  };
  CHECK(copies(6).empty()); // as the first ones
  const auto first = copies(60);
  REQUIRE(first.size() == 1);
  job.come_home(first[0]);
  CHECK(copies(60).empty()); // an eighth is more than a tenth
}

TEST_CASE("policy: before anything is home nothing is late, and where copies are off nothing is") {
  const auto may = GENERATE(true, false);
  policy_options options;
  options.copies = may;
  conducted job(3, options);
  job.policy.start();
  job.policy.lane_up("a");
  const auto first = job.next<hand_out>(), second = job.next<hand_out>();
  job.policy.lane_up("b");
  const auto third = job.next<hand_out>();
  const auto ticks = [&] {
    for (int i = 0; i < 100; ++i)
      job.policy.tick();
  };
  ticks();
  CHECK(job.silent());
  job.policy.lane_up("c");
  ticks();
  CHECK(job.silent());
  job.come_home(third);
  ticks();
  job.next<save>();
  job.policy.saved({});
  CHECK(job.silent()); // all were that slow
  ticks();
  ticks();
  CHECK(job.silent() != may);
  job.come_home(first);
  job.come_home(second);
}
