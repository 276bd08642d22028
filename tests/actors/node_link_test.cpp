// A link to a real node, without the rest of a job: lanes come, and come again.

#include "actors/node/link.hpp"
#include "supervision/spawn.hpp"
#include "supervision/supervisor.hpp"
#include "tests/actors/node_guest.hpp"
#include "tests/actors/node_liar.hpp"

using namespace viva;
using namespace viva::actors;
using namespace viva::tests;

namespace {

/// A link and the supervisor of its lanes; nobody gives them work.
struct ground {
  temporary_folder folder;
  std::unique_ptr<node_process> process; ///< Null where the node is the test's own.
  std::string name;                      ///< The node's.
  caf::actor_system_config config;
  std::unique_ptr<caf::actor_system> system;
  caf::actor lanes, link;
  site_ptr site;
  std::shared_ptr<node::board> nodes = std::make_shared<node::board>();

  ground() : process(std::make_unique<node_process>(folder.path())) {
    begin(node::parse_address(there().address()).value());
  }
  explicit ground(const node::address& where) {
    begin(where);
  }
  node_process& there() {
    return *process;
  }
  void begin(const node::address& where) {
    name = where.text();
    node::load_middleman(config, std::nullopt);
    system = std::make_unique<caf::actor_system>(config);
    auto top = supervision::start_supervisor(*system, {}, {});
    REQUIRE(top);
    lanes = *top;
    site = site_of(folder);
    const node::link_options options{where, site, [this] { return lanes; },
                                     nodes,
                                     std::make_shared<meter_board>(),
                                     std::make_shared<node::liveness_watch>()};
    link = system->spawn<caf::detached>(node::link, options);
  }
  ~ground() {
    {
      caf::scoped_actor self{*system};
      self->send_exit(link, caf::exit_reason::user_shutdown);
      self->wait_for(link);
    }
    // What it sent last may wait in the broker of connections, which holds its sender; once the
    // system stops nobody takes it out, and the link's thread would be waited for for ever.
    const auto* const counts = caf::actor_cast<caf::actor_control_block*>(link);
    CHECK(comes_true([&] { return counts->strong_refs.load() == 1; }));
    (void)supervision::stop_supervisor(lanes, std::chrono::seconds{10});
    link = lanes = nullptr;
  }
  /// What speaks for a lane of the node; null while nothing does.
  caf::actor lane(int number) {
    caf::scoped_actor self{*system};
    caf::actor found;
    const auto id = name + "/lane-" + std::to_string(number);
    self->request(lanes, caf::infinite, supervision::which_child{id})
      .receive([&](const supervision::child_info& of) { found = of.who; }, [](caf::error&) {});
    return found;
  }
  bool has_both() {
    return lane(0) && lane(1);
  }
};

} // namespace

TEST_CASE("node link: what speaks for a lane is started anew when it dies by itself", "[node]") {
  ground on;
  REQUIRE(comes_true([&] { return on.has_both(); }));
  const auto first = on.lane(0);
  caf::anon_send_exit(first, caf::exit_reason::kill);
  CHECK(comes_true([&] {
    const auto now = on.lane(0);
    return now && now != first && on.lane(1);
  }));
}

TEST_CASE("node link: a node that is told to leave is let go, since nothing is in its hand",
          "[node]") {
  ground on;
  REQUIRE(comes_true([&] { return on.has_both(); }));
  const auto began = std::chrono::steady_clock::now();
  CHECK(on.there().end(SIGTERM) == 0);
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds{15}); // 30: it gave up
  CHECK(on.there().err().find("had not let this node go") == std::string::npos);
}

TEST_CASE("node link: letters of another life, and what is no letter, are dropped", "[node]") {
  ground on;
  REQUIRE(comes_true([&] { return on.has_both(); }));
  const auto first = on.lane(0);
  for (const auto& bytes : {encode(node::letter{node::word::draining, {1, 2, 3}, {}}),
                            encode(node::letter{node::word::receipts, {1, 2, 3}, "nonsense"}),
                            std::string("nonsense")})
    caf::anon_send(on.link, bytes);
  ::poll(nullptr, 0, 500); // believed, the first lets the node go within a millisecond
  CHECK(on.lane(0) == first);
  CHECK(on.has_both());
}

TEST_CASE("node link: a node that joins and speaks nonsense is met again less and less often",
          "[node]") {
  liar there([](const node::letter&, const liar::say& say) {
    take_job(say);
    say(node::word::work, "nonsense");
  });
  ground on(there.where());
  REQUIRE(comes_true([&] { return there.met() >= 3; })); // after 50 to 100, 100 to 200 ms
  ::poll(nullptr, 0, 1'000);
  CHECK(there.met() <= 6); // 200 to 400, 400 to 800 ms; without a longer pause each time, 13 more
}

TEST_CASE("node link: a node that brings a lane twice, or one that it has not, is met anew",
          "[node]") {
  using lives = std::vector<std::pair<std::uint32_t, std::uint32_t>>; // lane and life
  const lives bad = GENERATE(lives{{0, 1}, {0, 2}}, lives{{0, 1}, {1, 1}, {0, 1}},
                             lives{{0, 1}, {2, 1}}, lives{{~0u, 1}});
  liar there([bad](const node::letter&, const liar::say& say) {
    take_job(say);
    for (const auto& [lane, life] : bad)
      bring_lane(say, lane, life);
  });
  ground on(there.where());
  CHECK(comes_true([&] { return there.met() >= 2; }));
}

TEST_CASE("node link: a lane that comes again behind its end is welcome", "[node]") {
  std::atomic<std::uint32_t> worked{0};
  liar there([&worked](const node::letter& from, const liar::say& say) {
    if (from.what == node::word::work) {
      worked = node::decode_parcel(from.body).value().life;
      return;
    }
    take_job(say);
    for (std::uint32_t lane = 0; lane < 2; ++lane)
      bring_lane(say, lane, 1);
    say(node::word::lane_down, encode(node::lane_news{0, 1, 0, no_shard, {}}));
    bring_lane(say, 0, 2);
  });
  ground on(there.where());
  CHECK(comes_true([&] {
    if (const auto lane = on.lane(0); lane && on.lane(1))
      caf::anon_send(lane, batch{nullptr, 1, {{}}, nullptr, nullptr});
    return worked == 2;
  }));
  CHECK(there.met() == 1);
}

namespace {

/// A batch of one shard for what speaks for a lane of the node.
void give_work(ground& on, int lane, std::uint64_t number, const caf::actor& conductor = nullptr) {
  const auto who = on.lane(lane);
  REQUIRE(who);
  caf::anon_send(who, batch{on.site, number, {{}},
                            std::make_shared<std::atomic<std::uint32_t>>(no_shard), conductor});
}

} // namespace

TEST_CASE("node link: a node whose lane is fenced time and again is left, and told of", "[node]") {
  liar there([](const node::letter& from, const liar::say& say) {
    if (from.what == node::word::assign) {
      take_job(say);
      bring_lane(say, 0, 1);
      bring_lane(say, 1, 1);
    } else if (const auto of = node::decode_parcel(from.body).value(); of.lane == 0) {
      constexpr auto fenced = static_cast<std::uint8_t>(supervision::fault::fenced);
      say(node::word::lane_down, encode(node::lane_news{0, of.life, fenced, no_shard, "over"}));
      bring_lane(say, 0, of.life + 1);
    } else {
      const work_receipts done{decode_order(of.bytes).value().number, 0, {{}}};
      say(node::word::receipts, encode(node::parcel{1, of.life, encode(done)}));
    }
  });
  ground on(there.where());
  REQUIRE(comes_true([&] { return on.has_both(); }));
  std::uint64_t number = 0;
  const auto fence = [&] {
    const auto before = on.lane(0);
    give_work(on, 0, ++number);
    return comes_true([&] {
      const auto now = on.lane(0);
      return now && now != before;
    });
  };
  for (unsigned i = 1; i < node::fences_max; ++i)
    REQUIRE(fence());
  caf::scoped_actor conductor{*on.system};
  give_work(on, 1, ++number, caf::actor_cast<caf::actor>(conductor));
  bool home = false; // so that those were not in a row with what follows
  conductor->receive([&](const batch_receipt&) { home = true; },
                     caf::after(std::chrono::seconds{60}) >> [] {});
  REQUIRE(home);
  for (unsigned i = 1; i < node::fences_max; ++i)
    REQUIRE(fence());
  CHECK(there.met() == 1);
  CHECK(on.nodes->all_refused().code == errc::ok);
  give_work(on, 0, ++number);
  REQUIRE(comes_true([&] { return on.nodes->all_refused().code != errc::ok; }));
  const auto why = on.nodes->all_refused();
  CHECK(why.code == errc::timed_out);
  CHECK(why.text.find(on.name + ": lane 0 had to leave the job's files alone 3 times") == 0);
  CHECK(why.text.find("--shared-fs") != std::string::npos);
  CHECK(comes_true([&] { return there.met() == 2; })); // it may be over by then
  CHECK(on.nodes->all_refused().code == errc::timed_out); // until it does some work
}

TEST_CASE("node link: a lane fenced without work of this job is no reason to leave its node",
          "[node]") {
  liar there([](const node::letter& from, const liar::say& say) {
    if (from.what != node::word::assign)
      return;
    take_job(say);
    bring_lane(say, 0, 1);
    for (std::uint32_t life = 1; life <= 2 * node::fences_max; ++life) {
      constexpr auto fenced = static_cast<std::uint8_t>(supervision::fault::fenced);
      say(node::word::lane_down, encode(node::lane_news{0, life, fenced, no_shard, "over"}));
      bring_lane(say, 0, life + 1);
    }
    bring_lane(say, 1, 1); // behind all those
  });
  ground on(there.where());
  REQUIRE(comes_true([&] { return on.has_both(); }));
  CHECK(on.nodes->all_refused().code == errc::ok);
  CHECK(there.met() == 1);
}

TEST_CASE("node link: where it dies by itself, what its node may write until its lease is over is "
          "waited for",
          "[node]") {
  std::atomic<bool> works{false};
  liar there([&works](const node::letter& from, const liar::say& say) {
    works = from.what == node::word::work;
    if (from.what != node::word::assign)
      return;
    take_job(say);
    bring_lane(say, 0, 1);
  });
  ground on(there.where());
  REQUIRE(comes_true([&] { return static_cast<bool>(on.lane(0)); }));
  const auto left = [&] { return on.nodes->written_until() - node::board::clock::now(); };
  const bool at_work = GENERATE(true, false);
  if (at_work)
    give_work(on, 0, 1);
  CHECK(comes_true([&] { return works == at_work; }));
  CHECK(left() < std::chrono::seconds{0});
  caf::scoped_actor self{*on.system};
  self->monitor(on.lane(0));
  self->send_exit(on.link, caf::exit_reason::kill);
  std::chrono::nanoseconds until{};
  self->receive([&](const caf::down_msg&) { until = left(); }); // others may be given it from now
  CHECK((until > std::chrono::seconds{3}) == at_work);
}
