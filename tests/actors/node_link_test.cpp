// A link to a real node, without the rest of a job: lanes come, and come again.

#include "actors/assignment.hpp"
#include "actors/node/link.hpp"
#include "actors/node/middleman.hpp"
#include "formats/checkpoint.hpp"
#include "supervision/spawn.hpp"
#include "supervision/supervisor.hpp"
#include "tests/actors/node_processes.hpp"

#include <caf/all.hpp>

using namespace viva;
using namespace viva::actors;
using namespace viva::tests;

namespace {

site_ptr site_of(const temporary_folder& folder) {
  quantize_spec spec;
  spec.source = folder / "source";
  spec.output = folder / "out";
  spec.method = "nf4";
  REQUIRE(viva::tests::viva({"synth", spec.source.string(), "--size", "1MiB"}).code == 0);
  auto from = formats::open_checkpoint(spec.source);
  REQUIRE(from);
  auto work = plan_quantize(*from, spec, {});
  REQUIRE(work);
  REQUIRE(fit_memory(*work, spec.limits, 2));
  auto place = workplace::open(*work, spec.output, nullptr);
  REQUIRE(place);
  auto site = std::make_shared<job_site>(std::move(*work), std::move(*place), fault_plan{}, false);
  site->assignment = encode(assignment{spec, {}, 2}, site->work, site->place.partial_identity());
  return site;
}

/// A link and the supervisor of its lanes; nobody gives them work.
struct ground {
  temporary_folder folder;
  node_process there{folder.path()};
  caf::actor_system_config config;
  std::unique_ptr<caf::actor_system> system;
  caf::actor lanes, link;

  ground() {
    node::load_middleman(config, std::nullopt);
    system = std::make_unique<caf::actor_system>(config);
    auto top = supervision::start_supervisor(*system, {}, {});
    REQUIRE(top);
    lanes = *top;
    const node::link_options options{node::parse_address(there.address()).value(),
                                     site_of(folder), [this] { return lanes; },
                                     std::make_shared<node::board>(),
                                     std::make_shared<meter_board>(),
                                     std::make_shared<node::liveness_watch>()};
    link = system->spawn<caf::detached>(node::link, options);
  }
  ~ground() {
    caf::anon_send_exit(link, caf::exit_reason::user_shutdown);
    (void)supervision::stop_supervisor(lanes, std::chrono::seconds{10});
    link = lanes = nullptr;
  }
  /// What speaks for a lane of the node; null while nothing does.
  caf::actor lane(int number) {
    caf::scoped_actor self{*system};
    caf::actor found;
    const auto id = there.address() + "/lane-" + std::to_string(number);
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
  CHECK(on.there.end(SIGTERM) == 0);
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds{15}); // 30: it gave up
  CHECK(on.there.err().find("had not let this node go") == std::string::npos);
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
