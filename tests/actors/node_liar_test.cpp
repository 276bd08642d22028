// Jobs over nodes of which one lies: it costs the job nothing that is done, and no node but itself.

#include "tests/actors/node_jobs.hpp"
#include "tests/actors/node_liar.hpp"

#include "actors/lane_frames.hpp"

using namespace viva;
using namespace viva::tests;

namespace {

/// Answers a batch: the first of its shards has this problem.
void refuse_work(const node::letter& work, const liar::say& say, errc code) {
  const auto parcel = node::decode_parcel(work.body).value();
  const auto order = actors::decode_order(parcel.bytes).value();
  actors::work_receipts all{order.number, 0, {}};
  all.shards.push_back({{order.tasks.front().task.id, 0, {}, {code, "as it says"}, {}}, {}});
  say(node::word::receipts, encode(node::parcel{parcel.lane, parcel.life, encode(all)}));
}

const words one_lane{"--allow-faults", "--lanes", "1", "--stall-seconds", "60"};

} // namespace

TEST_CASE("nodes: what one of them says of values ends a job, and costs nothing that is done") {
  const ground on;
  auto good = std::make_unique<node_process>(on.folder.path(), one_lane); // stands still, in time
  std::atomic<bool> begins{false}, held_back{false}, lied{false};
  liar there([&](const node::letter& from, const liar::say& say) {
    if (from.what == node::word::work) {
      refuse_work(from, say, errc::not_finite);
      lied = true;
      return;
    }
    held_back = comes_true([&] { return begins.load(); });
    take_job(say);
    bring_lane(say, 0, 1);
  });
  held_job job(on, good->address() + "," + there.address());
  REQUIRE(job.is_held(12)); // behind shard 20, which hangs, its lane takes no more
  begins = true;
  REQUIRE(comes_true([&] { return lied.load(); }));
  CHECK(held_back);
  good->end(SIGKILL); // the job waits for what it has in hand
  const auto ended = job.wait();
  INFO(ended.out << ended.err);
  CHECK(ended.code == 3);
  CHECK(ended.out.find("as it says; nodes took part, of which one may be wrong, and what is done")
        != std::string::npos);
  const auto kept = durable(on.out("out"));
  CHECK(kept >= 12);
  CHECK(fs::exists(on.out("out.journal")));
  const node_process other(on.folder.path());
  const auto report = report_of(viva::tests::viva(on.quantize("out", other.address())));
  CHECK(report["totals"]["shards_resumed"].get<std::size_t>() == kept);
  CHECK(files_in(on.out("out")) == on.truth);
}

TEST_CASE("nodes: a file that one of them cannot read or write is its own until all have it") {
  const ground on;
  const auto code = GENERATE(errc::unreadable, errc::disk_full, errc::cannot_write);
  CAPTURE(static_cast<int>(code));
  std::atomic<int> worked{0};
  liar there([&](const node::letter& from, const liar::say& say) {
    if (from.what == node::word::work) {
      ++worked;
      return refuse_work(from, say, code);
    }
    take_job(say);
    bring_lane(say, 0, 1);
  });
  const auto alone = viva::tests::viva(on.quantize("out", there.address()));
  INFO(alone.out);
  CHECK(alone.code == (code == errc::unreadable ? 3 : 5));
  CHECK(alone.out.find(there.address() + ": as it says") != std::string::npos);
  fs::remove_all(on.out("out.partial"));
  fs::remove_all(on.out("out.journal"));
  auto good = std::make_unique<node_process>(on.folder.path());
  const auto address = good->address();
  good->end(SIGKILL);
  worked = 0;
  held_job job(on, address + "," + there.address());
  REQUIRE(comes_true([&] { return worked > 0; }));
  good = std::make_unique<node_process>(on.folder.path(), may_hang, address);
  report_of(job.wait());
  CHECK(files_in(on.out("out")) == on.truth);
}

TEST_CASE("nodes: an output gets its name when nobody may write into it who was let go before") {
  using clock = std::chrono::steady_clock;
  const ground on;
  std::atomic<clock::rep> lied{0};
  liar there([&](const node::letter& from, const liar::say& say) {
    if (from.what == node::word::work) {
      lied = clock::now().time_since_epoch().count();
      return say(node::word::work, "nonsense"); // and might write what it was given, for a while
    }
    take_job(say);
    if (lied == 0)
      bring_lane(say, 0, 1);
  });
  auto good = std::make_unique<node_process>(on.folder.path());
  const auto address = good->address();
  good->end(SIGKILL); // until the other has something
  const auto unheld = [](words same) { // or it would take as long for what hangs
    std::erase_if(same, [](const auto& each) {
      return each == "--fault" || each.starts_with("hang-at");
    });
    return same;
  };
  held_job job(on, address + "," + there.address(), {}, unheld);
  REQUIRE(comes_true([&] { return lied != 0; }));
  good = std::make_unique<node_process>(on.folder.path(), may_hang, address);
  report_of(job.wait());
  CHECK(clock::now() - clock::time_point{clock::duration{lied}}
        >= node::liveness_times{}.lost_after);
  CHECK(files_in(on.out("out")) == on.truth);
}

TEST_CASE("nodes: one that lives and answers no work is given up, and what it has runs elsewhere") {
  const ground on;
  std::atomic<bool> has_work{false};
  liar there([&](const node::letter& from, const liar::say& say) {
    has_work = has_work || from.what == node::word::work;
    if (from.what != node::word::assign)
      return;
    take_job(say);
    bring_lane(say, 0, 1);
    bring_lane(say, 1, 1);
  });
  const bool shared = GENERATE(true, false);
  CAPTURE(shared);
  auto good = std::make_unique<node_process>(on.folder.path(), may_hang);
  const auto address = good->address();
  good->end(SIGKILL); // until the other has something
  const auto as = [shared](words same) {
    if (!shared) {
      std::erase(same, "--shared-fs");
      same.insert(same.end(), {"--lanes", "1"}); // or what is late is run twice, and it is over
    }
    return same;
  };
  held_job job(on, address + "," + there.address(), {"--stall-seconds", "1"}, as);
  REQUIRE(comes_true([&] { return has_work.load(); }));
  good = std::make_unique<node_process>(on.folder.path(), may_hang, address);
  const auto done = job.wait();
  report_of(done);
  INFO(done.err);
  CHECK(done.err.find(there.address() + ": silent about what lane") != std::string::npos);
  CHECK(files_in(on.out("out")) == on.truth);
}
