// A node and whoever comes to it: what it takes of them, and what it survives.

#include "actors/lane_frames.hpp"
#include "actors/node/freight.hpp"
#include "actors/node/lent_lane.hpp"
#include "actors/node/meeting.hpp"
#include "actors/node/reception.hpp"
#include "actors/node/scratch.hpp"
#include "actors/shard_work.hpp"
#include "tests/actors/node_guest.hpp"
#include "tests/actors/statistics_made.hpp"
#include "tests/support/raw_peer.hpp"

#include <sys/mount.h>

using namespace viva;
using namespace viva::actors;
using namespace viva::tests;

namespace {

/// Gives it a job whose files it does not see, brings what planning reads, and waits for its lanes.
node::lane_news begin_apart(guest& on, const node_process& there, const site_ptr& site) {
  const auto job = decode_assignment(site->assignment);
  REQUIRE(job);
  const auto goods = node::load_freight(*job, site->work);
  REQUIRE(goods);
  const auto& list = (*goods)->list;
  on.say(node::word::assign, encode(node::assign{site->assignment, {}, list}));
  const auto ready = on.hear(10'000);
  REQUIRE(ready);
  REQUIRE(ready->what == node::word::ready);
  node::bulk_client by(std::make_shared<node::network>(),
                       node::bulk_port(node::parse_address(there.address()).value()),
                       {on.with.incarnation, on.with.epoch, on.with.join});
  for (const auto& each : list.seeds)
    REQUIRE(put(by, (*goods)->files[each.file], each.offset, each));
  on.say(node::word::brought, encode(node::turn{}));
  return on.hear_lanes();
}

/// As many numbers, if any.
searched::numbers ones(std::optional<std::size_t> count) {
  return count ? std::make_shared<const std::vector<float>>(*count, 1.0f) : nullptr;
}

} // namespace

TEST_CASE("node session: orders of another life, of anybody's, are dropped; the session lives on",
          "[node]") {
  const temporary_folder folder;
  node_process there(folder.path());
  guest on(there.address());
  const auto lane = on.begin(site_of(folder)->assignment);
  const auto work = work_for(lane, {0});
  const auto [epoch, incarnation, join] = on.with;
  for (const auto other : {node::stamp{epoch + 1, incarnation, join},
                           node::stamp{epoch, incarnation + 1, join},
                           node::stamp{epoch, incarnation, join + 1}}) {
    on.say(other, node::word::work, work);
    on.say(other, node::word::assign, "nonsense");
  }
  CHECK_FALSE(on.hear(1'000)); // a shard takes a millisecond
  CHECK_FALSE(on.ended);
  on.say(node::word::work, work);
  const auto receipts = on.hear(10'000);
  REQUIRE(receipts);
  CHECK(receipts->what == node::word::receipts);
  on.say(node::word::assign, "nonsense");
  CHECK_FALSE(on.hear(10'000));
  CHECK(on.ended);
}

TEST_CASE("node session: a hello that came before gets no second session, and harms not the first",
          "[node]") {
  const temporary_folder folder;
  node_process there(folder.path());
  const auto site = site_of(folder);
  guest on(there.address());
  const auto lane = on.begin(site->assignment);
  const auto again = on.say_hello(guest::wish::job, on.with.join);
  CHECK(again.words.problem.code == errc::interrupted);
  CHECK_FALSE(again.session);
  CHECK(on.say_hello(guest::wish::look, on.with.join).words.problem.code == errc::ok);
  on.say(node::word::work, work_for(lane, {0}));
  const auto receipts = on.hear(10'000);
  REQUIRE(receipts);
  CHECK(receipts->what == node::word::receipts);
}

TEST_CASE("node session: what makes no sense ends the session that says it, and not the node",
          "[node]") {
  const temporary_folder folder;
  node_process there(folder.path());
  const auto site = site_of(folder);
  const node::lane_news none;
  {
    guest early(there.address());
    early.say(node::word::work, work_for(none, {0}));
    CHECK(early.is_turned_out());
  }
  const auto beyond = static_cast<std::uint32_t>(site->work.shards.size());
  const std::pair<node::word, std::string> rows[] = {
    {node::word::work, "nonsense"},
    {node::word::work, encode(node::parcel{0, 1, "nonsense"})},
    {node::word::work, work_for(none, {})},
    {node::word::work, work_for(none, {0, beyond})},
    {node::word::work, work_for(none, {0}, lane_fault::exit)}, // a job has those from its beginning
    {node::word::brought, encode(node::turn{1})},
    {node::word::let_go, encode(node::turn{1})}, // of a batch that never came
    {node::word::lend, encode(node::loan{"words"})},
    {node::word::receipts, encode(node::parcel{0, 1, "x"})}};
  for (std::size_t i = 0; i < std::size(rows); ++i) {
    CAPTURE(i);
    guest on(there.address());
    on.begin(site->assignment);
    on.say(rows[i].first, rows[i].second);
    CHECK(on.is_turned_out());
  }
  CHECK_FALSE(there.ended());
  guest good(there.address());
  good.say(node::word::work, work_for(good.begin(site->assignment), {0}));
  const auto receipts = good.hear(10'000);
  REQUIRE(receipts);
  CHECK(receipts->what == node::word::receipts);
}

TEST_CASE("node session: numbers of a search that are not as many as their shard needs end it",
          "[node]") {
  const temporary_folder folder;
  REQUIRE(viva::tests::viva({"synth", (folder / "source").string(), "--size", "1MiB"}).code == 0);
  const auto stats = make_statistics(folder / "source", folder / "stats").file;
  const auto site = site_of(folder, "awq:group=64", stats);
  const auto& work = site->work;
  using count = std::optional<std::size_t>;
  std::optional<guest> on;
  node_process there(folder.path());
  const auto say = [&](std::uint32_t shard, count columns, count rows) {
    const auto lane = on.emplace(there.address()).begin(site->assignment);
    work_order order{1, {{{{shard, 1}, {}, {ones(columns), ones(rows)}}, lane_fault::none}}};
    on->say(node::word::work, encode(node::parcel{lane.lane, lane.life, encode(order)}));
  };
  const auto is_done = [&] {
    const auto heard = on->hear(10'000);
    return heard && heard->what == node::word::receipts;
  };
  std::set<std::tuple<task, bool, bool>> seen; // by what a shard does and what it is told
  for (std::uint32_t s = 0; s < work.shards.size(); ++s) {
    const auto what = work.shards[s].what;
    const auto& tensor = work.tensors[work.shards[s].tensor];
    const auto of = [&](std::uint32_t scaling, std::size_t times, bool needed) {
      return needed && scaling != work_tensor::no_group ? count(times * work.scalings[scaling].cols)
                                                        : count();
    };
    const auto columns = of(tensor.columns_by, what == task::losses ? kernels::awq::candidates : 1,
                            what == task::losses || what == task::encode);
    const auto rows = of(tensor.rows_by, 1, what == task::encode || what == task::fold);
    if (!seen.emplace(what, columns.has_value(), rows.has_value()).second)
      continue;
    CAPTURE(static_cast<int>(what), columns.has_value(), rows.has_value());
    say(s, columns, rows);
    CHECK(is_done());
    for (const auto& bad : {count(), count(0), columns ? count(*columns - 1) : count(1)})
      if (bad != columns) {
        say(s, bad, rows);
        CHECK(on->is_turned_out());
      }
    for (const auto& bad : {count(), count(0), rows ? count(*rows + 1) : count(1)})
      if (bad != rows) {
        say(s, columns, bad);
        CHECK(on->is_turned_out());
      }
  }
  CHECK(seen.contains({task::losses, true, false}));
  CHECK(seen.contains({task::encode, true, true}));
  CHECK(seen.contains({task::fold, false, true}));
  CHECK_FALSE(there.ended());
}

TEST_CASE("node session: turns that make no sense end the session that takes them", "[node]") {
  const temporary_folder folder;
  node_process there(folder.path());
  const auto site = site_of(folder);
  const auto turn = [](std::uint64_t number) { return encode(node::turn{number}); };
  const auto hears = [](guest& on, node::word what) {
    const auto heard = on.hear(10'000);
    return heard && heard->what == what;
  };
  { // as it should be, but for the bytes, which are zeros
    guest on(there.address());
    const auto lane = begin_apart(on, there, site);
    on.say(node::word::work, work_for(lane, {0}));
    REQUIRE(hears(on, node::word::ready));
    on.say(node::word::brought, turn(1));
    CHECK(hears(on, node::word::receipts));
    on.say(node::word::brought, turn(1)); // once more
    CHECK(on.is_turned_out());
  }
  { // while it waits for the bytes of the first
    guest on(there.address());
    const auto lane = begin_apart(on, there, site);
    on.say(node::word::work, work_for(lane, {0}));
    REQUIRE(hears(on, node::word::ready));
    on.say(node::word::work, work_for(lane, {0}));
    CHECK(on.is_turned_out());
  }
  for (const auto number : {std::uint64_t{9}, node::turn::of_job}) { // never begun; there already
    guest on(there.address());
    begin_apart(on, there, site);
    on.say(node::word::brought, turn(number));
    CHECK(on.is_turned_out());
  }
  CHECK_FALSE(there.ended());
}

TEST_CASE("node session: what is no frame of its connection for bytes is counted as garbage",
          "[node]") {
  const temporary_folder folder;
  node_process there(folder.path());
  guest on(there.address(), guest::wish::lane);
  on.say(node::word::lend, encode(node::loan{node::attention_words()}));
  const auto lent = on.hear(10'000);
  REQUIRE(lent);
  REQUIRE(node::decode_error(lent->body)->code == errc::ok);
  const auto port = node::parse_address(there.address())->port;
  auto head = hello();
  head.key = {on.with.incarnation, on.with.epoch, on.with.join};
  for (int i = 0; i < 2; ++i) {
    raw_peer peer(static_cast<std::uint16_t>(port + 1));
    peer.say(head);
    REQUIRE(peer.hear());
    peer.say(noise(500, 7));
    CHECK(peer.is_closed());
  }
  ++head.key.job;
  raw_peer stranger(static_cast<std::uint16_t>(port + 1));
  stranger.say(head);
  CHECK(stranger.is_closed());
  CHECK(comes_true([&] { // counts move behind the close
    const auto seen = look_at(there.address());
    return seen["garbage"] == 2 && seen["strangers"] == 1;
  }));
}

TEST_CASE("node session: a node has so many at a time, and others wait until one ends", "[node]") {
  const temporary_folder folder;
  node_process there(folder.path());
  {
    guest many(there.address());
    for (std::size_t i = 1; i < node::sessions_max; ++i)
      REQUIRE(many.meet(guest::wish::job).problem.code == errc::ok);
    const auto refused = many.meet(guest::wish::job).problem;
    CHECK(refused.code == errc::interrupted); // asked again soon
    CHECK(refused.text.find("all the coordinators that it takes, 64") != std::string::npos);
    CHECK(look_at(there.address())["jobs"] == node::sessions_max);
  }
  CHECK(comes_true([&] { return static_cast<bool>(guest(there.address()).session); }));
}

TEST_CASE("nodes: what answers, but not as a node does, is told apart from one that is away",
          "[node]") {
  caf::actor_system_config config;
  node::load_middleman(config, std::nullopt);
  caf::actor_system there{config};
  const auto door = there.spawn([](caf::event_based_actor*) -> caf::behavior {
    return {[](const std::string&) -> caf::result<std::string, caf::actor> {
      return {std::string("nonsense"), caf::actor{}};
    }};
  });
  const auto port = node::publish(door, {"127.0.0.1", 0});
  REQUIRE(port);
  const auto address = "127.0.0.1:" + std::to_string(*port);
  const temporary_folder folder;
  const auto source = (folder / "source").string(), out = (folder / "out").string();
  REQUIRE(viva::tests::viva({"synth", source, "--size", "1MiB"}).code == 0);
  const std::vector<std::string> commands[] = {
    {"nodes", "--nodes", address, "--json"},
    {"quantize", source, "-m", "nf4", "-o", out, "--nodes", address, "--json"}};
  for (const auto& command : commands) {
    const auto told = viva::tests::viva(command);
    INFO(told.out);
    CHECK(told.code == 1);
    CHECK(told.out.find("not as a node of this version does") != std::string::npos);
  }
  caf::anon_send_exit(door, caf::exit_reason::kill);
}

TEST_CASE("nodes without the files: one without scratch says why, and takes jobs that need none") {
  const temporary_folder folder, temporary;
  std::ofstream(temporary / ("viva-scratch-" + std::to_string(::getuid()))) << "no folder";
  const char* const said = std::getenv("TMPDIR");
  const std::string before = said == nullptr ? "" : said;
  ::setenv("TMPDIR", temporary.path().c_str(), 1);
  node_process there(folder.path());
  before.empty() ? ::unsetenv("TMPDIR") : ::setenv("TMPDIR", before.c_str(), 1);
  const auto source = (folder / "source").string(), out = (folder / "out").string();
  REQUIRE(viva::tests::viva({"synth", source, "--size", "1MiB"}).code == 0);
  std::vector<std::string> command{
    "quantize", source, "-m", "nf4", "-o", out, "--nodes", there.address(), "--json"};
  const auto refused = viva::tests::viva(command);
  INFO(refused.out);
  CHECK(refused.code == 1);
  CHECK(refused.out.find("belongs to somebody else") != std::string::npos);
  CHECK(refused.out.find("--scratch") != std::string::npos);
  command.push_back("--shared-fs");
  CHECK(viva::tests::viva(command).code == 0);
}

TEST_CASE("nodes without the files: a folder whose files can have no holes is no scratch") {
  const temporary_folder plain;
  if (::mount("ramfs", plain.path().c_str(), "ramfs", 0, nullptr) != 0) {
    WARN("skipped: needs the right to mount");
    return;
  }
  const auto refused = node::scratch_root::open(plain.path());
  ::umount(plain.path().c_str());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::bad_option);
  CHECK(refused.error().text.find("can have no holes") != std::string::npos);
  CHECK(refused.error().text.find("--scratch") != std::string::npos);
}
