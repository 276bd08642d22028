// How nodes are, for whoever waits for them, and how long until a lost one is looked for again.

#include "actors/job_nodes.hpp"
#include "actors/node/board.hpp"
#include "actors/node/meeting.hpp"

#include "tests/support/catch.hpp"

#include <algorithm>

using namespace std::chrono_literals;
using viva::errc;
using viva::job_limits;
using viva::actors::job_nodes;
using viva::actors::node::board;
using viva::actors::node::pauses;

TEST_CASE("node board: since when nobody is up, whether all refused, and a word on each") {
  board of;
  CHECK(of.alone_since());
  CHECK(of.all_refused().code == errc::ok);
  of.note("a:1", board::state::away, "not reached yet");
  of.note("b:2", board::state::refused, "another build");
  CHECK(of.all_refused().code == errc::ok);
  CHECK(of.text() == "a:1: not reached yet; b:2: another build");
  of.note("a:1", board::state::up);
  CHECK_FALSE(of.alone_since());
  CHECK(of.text() == "a:1: up; b:2: another build");
  of.note("a:1", board::state::refused, "none of its roots");
  const auto since = of.alone_since();
  CHECK(since);
  CHECK(of.all_refused().code == errc::job_failed);
  CHECK(of.all_refused().text == "a:1: none of its roots");
  of.note("b:2", board::state::away, "lost");
  CHECK(of.alone_since() == since); // not since that
  CHECK(of.all_refused().code == errc::ok);
  of.note("a:1", board::state::up, {}, 1); // its second lane
  CHECK_FALSE(of.alone_since());
  CHECK(of.text() == "a:1: none of its roots; b:2: lost");
}

TEST_CASE("node board: who refused files refuses them until it did well, however often it is met") {
  board of;
  of.note("a:1", board::state::up);
  of.note("b:2", board::state::up);
  of.note("a:1", board::state::refused, "w.bin: no", 0, errc::unreadable);
  of.note("a:1", board::state::up); // met anew: the same shard lies with b by now
  CHECK(of.all_refused().code == errc::ok);
  of.note("b:2", board::state::refused, "w.bin: no", 0, errc::unreadable);
  CHECK(of.all_refused().code == errc::unreadable);
  CHECK(of.all_refused().text == "a:1: w.bin: no");
  of.note("b:2", board::state::refused, "disk", 0, errc::disk_full);
  CHECK(of.all_refused().code == errc::job_failed); // for several reasons
  of.did_well("a:1");
  CHECK(of.all_refused().code == errc::ok);
  of.note("a:1", board::state::refused, "another build"); // no file's
  CHECK(of.all_refused().text == "a:1: another build");
  of.note("a:1", board::state::away, "lost");
  CHECK(of.all_refused().code == errc::ok);
}

TEST_CASE("node board: a job that goes on where another life had nodes keeps its output's name "
          "back for as long as these may write",
          "[node]") {
  job_limits limits;
  limits.nodes = {"127.0.0.1:1"};
  limits.shared_fs = true;
  CHECK(job_nodes::of(limits)->strays(false)() <= std::chrono::milliseconds{0});
  const auto began = board::clock::now();
  const auto wait = job_nodes::of(limits)->strays(true)();
  CHECK(wait <= 3'400ms);
  CHECK(wait + (board::clock::now() - began) >= 3'400ms);
  limits.shared_fs = false; // then the job alone writes
  CHECK_FALSE(job_nodes::of(limits)->strays(true));
}

TEST_CASE("node pauses: longer each time up to 5 s, and not short again for having joined alone") {
  pauses until;
  CHECK(until.before_life() == 0ms);
  auto longest = 100ms;
  for (int i = 0; i < 12; ++i) {
    const auto next = until.next();
    CHECK(next >= longest / 2);
    CHECK(next <= longest);
    longest = std::min<std::chrono::milliseconds>(2 * longest, 5'000ms);
  }
  until.joined();
  CHECK(until.next() >= 2'500ms);
  until.lost();
  CHECK(until.before_life() >= 2'500ms);
  CHECK(until.before_life() == 0ms);
}
