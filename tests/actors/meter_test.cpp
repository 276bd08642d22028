#include "actors/collector.hpp"
#include "actors/tree.hpp"
#include "tests/actors/jobs.hpp"

#include <caf/all.hpp>

#include <atomic>
#include <future>
#include <thread>

using namespace viva;
using namespace viva::actors;
using namespace std::chrono_literals;

namespace {

/// Keeps the collector in the midst of a message until `until` is ready; returns once it is there.
void hold(const caf::actor& collector, std::shared_future<void> until) {
  auto there = std::make_shared<std::promise<void>>();
  const auto arrived = there->get_future();
  std::shared_ptr<std::promise<snapshot>> to(new std::promise<snapshot>,
                                             [there, until](std::promise<snapshot>* answered) {
                                               delete answered;
                                               there->set_value();
                                               until.wait();
                                             });
  caf::anon_send(collector, take_snapshot{std::move(to)});
  arrived.wait();
}

} // namespace

TEST_CASE("latency histogram: a quantile is within 7 % of the value that was put in") {
  for (const auto ns :
       {8LL, 9LL, 15LL, 16LL, 100LL, 999LL, 12'345LL, 99'999'999LL, 3'600'000'000'000LL}) {
    latency_histogram h;
    h.add(std::chrono::nanoseconds(ns));
    CHECK(h.quantile_ms(0.5) == Approx(double(ns) / 1e6).epsilon(0.07));
  }
}

TEST_CASE("latency histogram: two merge to what one of all would be") {
  latency_histogram a, b, all;
  for (int us = 1; us < 5000; us += 7) {
    (us % 3 == 0 ? a : b).add(std::chrono::microseconds(us), 2);
    all.add(std::chrono::microseconds(us), 2);
  }
  a.merge(b);
  CHECK(a.count() == all.count());
  CHECK(a.sum_seconds() == Approx(all.sum_seconds()));
  for (const double q : {0.5, 0.99, 0.999})
    CHECK(a.quantile_ms(q) == all.quantile_ms(q));
}

TEST_CASE("meters: the lives of a lane add up, and all but the first are restarts") {
  meter_board board;
  for (int life = 0; life < 3; ++life) {
    const auto meter = board.hang("lane-0");
    meter->begin_life();
    meter->add({"nf4", 2, 128, 10, 3us});
    meter->tell();
  }
  board.hang("lane-1")->begin_life();
  board.hang("lane-1")->add({"int8", 1, 64, 5, 1us});
  board.hang("lane-1")->tell();
  const auto seen = read_meters(board);
  REQUIRE(seen.lanes.size() == 2);
  CHECK(seen.lanes[0].shards == 6);
  CHECK(seen.lanes[0].bytes == 30);
  CHECK(seen.lanes[0].restarts == 2);
  CHECK(seen.lanes[1].restarts == 0);
  CHECK(seen.restarts == 2);
  CHECK(seen.tickets.count == 4);
  REQUIRE(seen.methods.size() == 2);
  CHECK(seen.methods[1].name == "nf4");
  CHECK(seen.methods[1].values == 3 * 128);
}

TEST_CASE("meters: tickets that were measured together count each, with their share of the time") {
  lane_meter one("lane-0"), eight("lane-1");
  for (int i = 0; i < 8; ++i)
    one.add({"nf4", 1, 64, 256, 20us});
  eight.add({"nf4", 8, 8 * 64, 8 * 256, 160us, 8});
  for (auto* each : {&one, &eight})
    each->tell();
  const auto a = one.read(), b = eight.read();
  CHECK(b.tickets.count() == 8);
  CHECK(b.tickets.quantile_ms(0.99) == a.tickets.quantile_ms(0.99));
  CHECK(b.tickets.sum_seconds() == a.tickets.sum_seconds());
  CHECK(b.busy_ns == a.busy_ns);
  CHECK(b.shards == a.shards);
}

TEST_CASE("meters: totals that nobody read are replaced, counted, and nothing is lost") {
  lane_meter meter("lane-0");
  for (int i = 0; i < 10; ++i) {
    meter.add({"nf4", 1, 64, 256, 1us});
    meter.tell();
  }
  CHECK(meter.read().shards == 10);
  meter.add({"nf4", 1, 64, 256, 1us});
  CHECK(meter.read().shards == 10); // not told yet
  meter.tell();
  meter.tell(); // nothing new: not told
  const auto seen = meter.read();
  CHECK(seen.shards == 11);
  CHECK(seen.updates == 11);
  CHECK(seen.updates_dropped == 9);
}

TEST_CASE("meters: whoever reads while a lane tells sees whole totals, and never older ones") {
  lane_meter meter("lane-0");
  std::atomic<bool> done{false};
  std::jthread lane([&] {
    for (int i = 0; i < 200'000; ++i) {
      meter.add({"nf4", 1, 3, 5, 1us});
      meter.tell();
    }
    done = true;
  });
  std::uint64_t before = 0, torn = 0, older = 0;
  for (bool last = false; !last;) {
    last = done;
    const auto seen = meter.read();
    const auto values = seen.methods.empty() ? 0 : seen.methods[0].values;
    torn += seen.bytes != 5 * seen.shards || values != 3 * seen.shards
            || seen.tickets.count() != seen.shards;
    older += seen.shards < before;
    before = seen.shards;
  }
  CHECK(torn == 0);
  CHECK(older == 0);
  CHECK(before == 200'000);
}

TEST_CASE("meters: a collector that is held keeps no lane waiting, and what it misses is counted") {
  const tests::temporary_folder folder;
  const auto source = formats::open_checkpoint(tests::synthesized(folder));
  REQUIRE(source);
  compare_spec spec;
  spec.limits.shard_bytes_max = 64 << 10;
  auto work = plan_compare(*source, *source, spec);
  REQUIRE(work);
  auto place = workplace::open(*work, {}, nullptr);
  REQUIRE(place);
  const auto site = std::make_shared<job_site>(std::move(*work), std::move(*place), fault_plan{},
                                               false);
  auto lives = tree::grow(2, nullptr, spec.limits);
  REQUIRE(lives);
  std::promise<void> let_go; // broken before the tree ends, wherever this leaves
  hold(lives->collector(), let_go.get_future().share());

  conductor_options order;
  order.site = site;
  order.policy.copies = false; // or one that was late would be counted twice
  const auto conductor = lives->start_job(order);
  REQUIRE(conductor);
  caf::scoped_actor self{lives->system()};
  self->send(*conductor, run_job{caf::actor_cast<caf::actor>(self)});
  bool done = false;
  self->receive([&](const job_outcome& outcome) { done = outcome.problem.code == errc::ok; },
                caf::after(60s) >> [] {});
  CHECK(done); // and the collector is where it was
  let_go.set_value();

  const auto seen = lives->meters();
  CHECK(seen.shards == site->work.shards.size());
  CHECK(seen.updates_dropped > 0);
}
