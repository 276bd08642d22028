// Leases where nodes live: who may not write does not, is given nothing, and is left in the end.

#include "actors/lane_frames.hpp"
#include "actors/node/address.hpp"
#include "actors/node/session.hpp"
#include "actors/shard_work.hpp"
#include "tests/actors/node_guest.hpp"
#include "tests/actors/node_jobs.hpp"
#include "tests/support/proxy.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <stdexcept>

using namespace viva;
using namespace viva::actors;
using namespace viva::tests;

TEST_CASE("node session: while its coordinator is not heard lanes write nothing, and end",
          "[node]") {
  const std::string kind = GENERATE("thread", "process");
  CAPTURE(kind);
  const temporary_folder folder;
  node_process there(folder.path(), {"--isolation", kind});
  const auto site = site_of(folder);
  const auto& shards = site->work.shards;
  const auto large = std::ranges::max_element(shards, {}, &shard::source_bytes) - shards.begin();
  const auto other = static_cast<std::uint32_t>(large == 0 ? 1 : 0);
  const auto written = [&] {
    return output_checksum(site->work, site->place, shards[other]).value();
  };
  const auto nothing = written();
  guest on(there.address());
  const auto lane = on.begin(site->assignment);
  CHECK(look_at(there.address())["fenced"] == 0);
  // For longer than a lease lasts: 64 GB of one shard.
  on.say(node::word::work,
         work_for(lane, std::vector<std::uint32_t>(64'000'000'000 / shards[large].source_bytes,
                                                   static_cast<std::uint32_t>(large))));
  on.fall_silent();
  const auto down = on.hear(60'000);
  REQUIRE(down);
  REQUIRE(down->what == node::word::lane_down);
  const auto end = node::decode_lane_news(down->body).value();
  CHECK(end.fault == static_cast<std::uint8_t>(supervision::fault::fenced));
  CHECK(end.lane == lane.lane);
  CHECK(comes_true([&] { return look_at(there.address())["fenced"] >= 1; }));
  CHECK(there.err().find("write nothing more into the files of their jobs") != std::string::npos);
  const auto up = on.hear(10'000);
  REQUIRE(up);
  REQUIRE(up->what == node::word::lane_up);
  on.say(node::word::work, work_for(node::decode_lane_news(up->body).value(), {other}));
  CHECK_FALSE(on.hear(300)); // a lane that was given it would have ended within milliseconds
  CHECK(written() == nothing);

  on.begin_to_beat(); // in time, for all that this one knows
  const auto receipts = on.hear(10'000);
  REQUIRE(receipts);
  CHECK(receipts->what == node::word::receipts);
  CHECK(written() != nothing);
  CHECK(comes_true([&] { return there.err().find("heard again") != std::string::npos; }));
}

TEST_CASE("node session: work that may not be begun is given back in time, and is not begun later",
          "[node]") {
  const temporary_folder folder;
  node_process there(folder.path());
  const auto site = site_of(folder);
  guest on(there.address());
  const auto lane = on.begin(site->assignment);
  on.fall_silent();
  REQUIRE(comes_true([&] { return look_at(there.address())["fenced"] >= 1; }));
  on.say(node::word::work, work_for(lane, {0}));
  const auto down = on.hear(10'000);
  REQUIRE(down);
  REQUIRE(down->what == node::word::lane_down);
  const auto end = node::decode_lane_news(down->body).value();
  CHECK(end.fault == static_cast<std::uint8_t>(supervision::fault::fenced));
  CHECK(end.lane == lane.lane);
  CHECK(end.life == lane.life);
  CHECK(end.text.find("nothing of the work was begun") != std::string::npos);
  const auto up = on.hear(10'000);
  REQUIRE(up);
  REQUIRE(up->what == node::word::lane_up);
  const auto next = node::decode_lane_news(up->body).value();
  CHECK(next.lane == lane.lane);
  CHECK(next.life == lane.life + 1);
  on.begin_to_beat();
  REQUIRE(comes_true([&] { return there.err().find("heard again") != std::string::npos; }));
  on.say(node::word::work, work_for(next, {1}));
  const auto receipts = on.hear(10'000);
  REQUIRE(receipts);
  REQUIRE(receipts->what == node::word::receipts);
  const auto done = node::decode_parcel(receipts->body).value();
  CHECK(done.life == next.life);
  CHECK(decode_receipts(done.bytes).value().shards.front().receipt.id.shard == 1);
}

TEST_CASE("node session: a lane whose right is over opens nothing that it would write to",
          "[node]") {
  const temporary_folder folder;
  const auto site = site_of(folder);
  const auto partial = partial_path(folder / "out");
  std::atomic<std::uint64_t> steps{0};
  const auto join = [&](lease_ptr right) {
    return workplace::join(site->work, folder / "out", site->place.partial_identity(), steps,
                           std::move(right));
  };
  const auto holds = lease::make(lease::now() + std::chrono::hours{1}).value();
  CHECK(join(holds));
  for (const auto& each : std::filesystem::directory_iterator(partial))
    if (each.path().extension() == ".safetensors")
      std::filesystem::remove(each.path());
  const auto left = [&] {
    return std::ranges::distance(std::filesystem::directory_iterator(partial),
                                 std::filesystem::directory_iterator{});
  };
  const auto before = left();
  CHECK_FALSE(join(holds)); // what is not there is found, not made
  holds->end();
  CHECK_THROWS_AS(join(holds), lease_over);
  CHECK(left() == before);
  const auto named = folder / "named";
  CHECK_FALSE(real_disk().open(named, disk::mode::write));
  CHECK_FALSE(std::filesystem::exists(named));
}

TEST_CASE("node session: behind its end nobody may write into its job's files", "[node]") {
  const auto facts = std::make_shared<node::node_facts>();
  const auto right = facts->rights->grant(5, 6, lease::now()).value();
  const auto others = facts->rights->grant(5, 7, lease::now()).value();
  {
    node::session_state over;
    over.options.facts = facts;
    over.options.with = {5, 4, 6};
    over.has_right = true;
    CHECK(right->holds());
  }
  CHECK_FALSE(right->holds());
  CHECK(others->holds());
  {
    node::session_state refused; // had none of its own
    refused.options.facts = facts;
    refused.options.with = {5, 4, 7};
  }
  CHECK(others->holds());
}

namespace {

/// A node, and its three ports on another address of this machine.
struct behind_proxies {
  std::unique_ptr<node_process> there;
  std::unique_ptr<std::map<int, proxy>> way;
  std::string address;

  explicit behind_proxies(const std::filesystem::path& root) {
    for (int tries = 10; !way; --tries) // a connection of somebody's may have one of the ports
      try {
        there = std::make_unique<node_process>(root, may_hang, "127.0.0.2:0");
        const auto port = node::parse_address(there->address()).value().port;
        auto made = std::make_unique<std::map<int, proxy>>();
        for (int i = 0; i < 3; ++i)
          made->try_emplace(i, port + i, "127.0.0.2", port + i);
        address = "127.0.0.1:" + std::to_string(port);
        way = std::move(made);
      } catch (const std::runtime_error& why) {
        INFO(why.what());
        REQUIRE(tries > 0);
      }
  }
};

} // namespace

TEST_CASE("nodes: with shared files, one whose signs of life take 2.5 s there and back is left, "
          "with the reason, and others do the job") {
  const ground on;
  const behind_proxies slow(on.folder.path());
  slow.way->at(2).delay(std::chrono::milliseconds{1'270});
  const auto& address = slow.address;
  const auto why = address + ": lane ";
  held_job job(on, address); // so that it is not over before its lease is
  const auto alone = job.wait();
  INFO(alone.out << alone.err);
  CHECK(alone.code == 1);
  CHECK(alone.out.find("no node takes the job; " + why) != std::string::npos);
  CHECK(alone.out.find("run without --shared-fs") != std::string::npos);
  CHECK(alone.out.find("run the same command again to resume") != std::string::npos);

  const node_process good(on.folder.path());
  report_of(viva::tests::viva(on.quantize("out", address + "," + good.address())));
  CHECK(files_in(on.out("out")) == on.truth);
  report_of(viva::tests::viva(on.quantize("other", address + "," + good.address())));
  CHECK(files_in(on.out("other")) == on.truth);
}
