// A link to a real node, without the rest of a job: lanes come, and come again.

#include "actors/node/link.hpp"
#include "supervision/spawn.hpp"
#include "supervision/supervisor.hpp"
#include "tests/actors/node_guest.hpp"

using namespace viva;
using namespace viva::actors;
using namespace viva::tests;

namespace {

/// A link and the supervisor of its lanes; nobody gives them work.
struct ground {
  temporary_folder folder;
  std::unique_ptr<node_process> process; ///< Null where the node is the test's own.
  caf::actor_system_config config;
  std::unique_ptr<caf::actor_system> system;
  caf::actor lanes, link;

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
    node::load_middleman(config, std::nullopt);
    system = std::make_unique<caf::actor_system>(config);
    auto top = supervision::start_supervisor(*system, {}, {});
    REQUIRE(top);
    lanes = *top;
    const node::link_options options{where, site_of(folder), [this] { return lanes; },
                                     std::make_shared<node::board>(),
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
    const auto id = there().address() + "/lane-" + std::to_string(number);
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
  caf::actor_system_config config;
  node::load_middleman(config, std::nullopt);
  caf::actor_system there{config};
  std::atomic<int> met{0};
  const auto door = there.spawn([&met](caf::event_based_actor* self) -> caf::behavior {
    return {[self, &met](const std::string& bytes) -> caf::result<std::string, caf::actor> {
      const auto from = node::decode_letter(bytes);
      const node::stamp with{from->of.epoch, 77, from->of.join};
      const auto link = caf::actor_cast<caf::actor>(self->current_sender());
      node::welcome said;
      said.build = node::build_words(kernels::path::simd);
      const auto liar = self->spawn([with, link](caf::event_based_actor* me) -> caf::behavior {
        return {[me, with, link](const std::string&) {
          me->send(link, encode(node::letter{node::word::assigned, with, node::encode(error{})}));
          me->send(link, encode(node::letter{node::word::work, with, "nonsense"}));
        }};
      });
      ++met;
      return {encode(node::letter{node::word::welcome, with, encode(said)}), liar};
    }};
  });
  const auto port = node::publish(door, {"127.0.0.1", 0});
  REQUIRE(port);
  ground on(node::address{"127.0.0.1", *port});
  REQUIRE(comes_true([&] { return met >= 3; })); // after 50 to 100, 100 to 200 ms
  ::poll(nullptr, 0, 1'000);
  CHECK(met <= 6); // 200 to 400, 400 to 800 ms; without a longer pause each time, 13 more
  caf::anon_send_exit(door, caf::exit_reason::kill);
}
