#include "actors/node/serve.hpp"

#include "actors/collector.hpp"
#include "actors/node/descriptors.hpp"
#include "actors/node/liveness.hpp"
#include "actors/node/middleman.hpp"
#include "actors/node/reception.hpp"
#include "actors/node/roots.hpp"
#include "actors/port.hpp"
#include "actors/tree.hpp"
#include "supervision/spawn.hpp"
#include "supervision/supervisor.hpp"

#include <caf/all.hpp>
#include <spdlog/spdlog.h>

#include <thread>

#include <unistd.h>

namespace viva {
namespace {

using namespace actors;
using namespace actors::node;
using clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds look_every{50};

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

using life_port = std::unique_ptr<liveness_server>;

/// How the node is, for whoever asks. Nobody can before all of its ports are open.
std::function<welcome()> look_at(const tree& lives, std::shared_ptr<const node_facts> facts,
                                 std::shared_ptr<std::atomic<std::uint32_t>> sessions,
                                 std::shared_ptr<const life_port> life) {
  return [&lives, facts = std::move(facts), sessions = std::move(sessions),
          life = std::move(life), began = clock::now()] {
    const auto meters = read_meters(lives.board());
    welcome now;
    now.build = facts->build;
    now.host = host_name();
    now.pid = static_cast<std::uint32_t>(::getpid());
    now.lanes = facts->limits.lanes;
    now.jobs = *sessions;
    now.restarts = meters.restarts;
    const auto counts = facts->stores->server->counts();
    now.strangers = counts.strangers + (*life)->strangers();
    now.garbage = counts.garbage;
    now.fenced = facts->rights->ran_out();
    for (const auto& lane : meters.lanes)
      now.shards += lane.shards;
    now.up_ms = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(clock::now() - began).count());
    return now;
  };
}

void tell_of(const leases::news& seen) {
  if (seen.ran_out > 0)
    spdlog::warn("{} coordinators have not been heard, or did not hear this node, for {} ms: lanes "
                 "write nothing more into the files of their jobs, and end where they would",
                 seen.ran_out, lease_length.count());
  if (seen.hold_again > 0)
    spdlog::warn("{} coordinators are heard again; lanes may write into the files of their jobs",
                 seen.hold_again);
}

/// Until it is told to leave, or its reception is lost.
expected<void> wait(tree& lives, const caf::actor& door, const node_spec& spec,
                    const node_observer& observer, const std::atomic<std::uint32_t>& sessions,
                    leases& rights) {
  caf::scoped_actor self{lives.system()};
  self->monitor(door);
  bool lost = false;
  const auto listen = [&] {
    self->receive([&](const caf::down_msg&) { lost = true; }, caf::after(look_every) >> [] {});
    tell_of(rights.look(lease::now()));
  };
  while (!lost && !(observer.leave != nullptr && observer.leave->load()))
    listen();
  self->send(door, leave{});
  const auto latest = clock::now() + spec.drain;
  for (listen(); !lost && sessions > 0 && clock::now() < latest;)
    listen();
  if (sessions > 0)
    spdlog::warn("left {} jobs that had not let this node go; what it had in hand runs elsewhere",
                 sessions.load());
  if (lost)
    return fail(errc::job_failed, "the node's reception was lost; start the node again");
  return {};
}

/// The two ports above a node's own (address.hpp).
struct side_ports {
  std::unique_ptr<bulk_server> bulk;
  life_port life;
};

/// Port 0 in `where` becomes one whose two above are free, too, or were a moment ago.
expected<side_ports> open_side_ports(address& where, const std::shared_ptr<network>& threads,
                                     const tls_ptr& security,
                                     const std::shared_ptr<leases>& rights) {
  const auto above = [&](int by) {
    return address{where.host, static_cast<std::uint16_t>(where.port == 0 ? 0 : where.port + by)};
  };
  side_ports made;
  auto bulk = bulk_server::open(threads, above(1), {.security = security});
  if (!bulk)
    return tl::unexpected(bulk.error());
  made.bulk = std::move(*bulk);
  where.port = static_cast<std::uint16_t>(made.bulk->port() - 1);
  // It answers; a session ends with its connection, which CAF gives up after 10 s of silence, and
  // its lanes write into shared files for as long as its coordinator hears them.
  auto life = liveness_server::open(
    above(2), own_incarnation(), {.security = security, .times = {}},
    [](std::uint64_t, node::life) {},
    [rights](std::uint64_t epoch, std::uint64_t join, lease::time said) {
      rights->heard(epoch, join, said);
    });
  if (!life)
    return tl::unexpected(life.error());
  made.life = std::move(*life);
  return made;
}

constexpr int tries_max = 50; // to find three ports in a row

/// Opens all three, its own last: whoever finds the node finds all of it.
expected<void> open_ports(address& where, const tls_ptr& security, depot& stores, life_port& life,
                          const caf::actor& door, const std::shared_ptr<leases>& rights) {
  const auto threads = std::make_shared<network>();
  const bool any = where.port == 0;
  for (int left = any ? tries_max : 1;; --left) {
    auto done = open_side_ports(where, threads, security, rights).and_then([&](side_ports made) {
      stores.server = std::move(made.bulk);
      life = std::move(made.life);
      return node::publish(door, where);
    });
    if (done)
      return {};
    if (left == 1)
      return tl::unexpected(done.error());
    where.port = 0;
  }
}

/// Where it cannot be made although nobody named one, jobs that need none go on without.
expected<void> open_scratch(node_facts& facts, depot& stores, const node_spec& spec) {
  auto root = scratch_root::open(spec.scratch);
  if (!root && !spec.scratch.empty())
    return tl::unexpected(root.error());
  if (root)
    stores.root = std::move(*root);
  else
    facts.no_room = std::move(root.error());
  return {};
}

/// Everything about the node but its lives.
expected<std::shared_ptr<node_facts>> facts_of(const node_spec& spec) {
  auto facts = std::make_shared<node_facts>();
  auto roots = parse_roots(spec.roots);
  if (!roots)
    return tl::unexpected(roots.error());
  facts->build = spec.claims.empty() ? build_words(kernels::path::simd) : spec.claims;
  facts->roots = std::move(*roots);
  facts->limits = spec.limits;
  if (facts->limits.lanes == 0)
    facts->limits.lanes = std::max(1u, std::thread::hardware_concurrency());
  if (facts->limits.lanes_are == isolation::process) {
    const auto keeper = std::make_shared<supervision::guardian>();
    facts->tensor_lane = [keeper, how = lane_process_options(lane_program_of(facts->limits))] {
      return peer_of(keeper->start(how));
    };
  }
  facts->allow_faults = spec.allow_faults;
  facts->claimed_attention = spec.claimed_attention;
  return facts;
}

expected<caf::actor> start_reception(tree& lives, const reception_options& options) {
  supervision::child_spec child;
  child.id = "reception";
  child.restart = supervision::temporary;
  child.start = [options](caf::event_based_actor* sup) {
    return supervision::spawn(sup, reception, options);
  };
  return lives.start(std::move(child));
}

} // namespace

expected<void> run_node(const node_spec& spec, const node_observer& observer) {
  auto where = parse_address(spec.listen);
  if (!where)
    return tl::unexpected(where.error());
  auto made = facts_of(spec);
  if (!made)
    return tl::unexpected(made.error());
  const auto facts = *made;
  auto files = security_of({*where}, spec.limits.tls, spec.limits.insecure);
  if (!files)
    return tl::unexpected(files.error());
  auto security = *files ? load_tls(**files) : expected<tls_ptr>{};
  if (!security)
    return tl::unexpected(security.error());
  // A node whose last descriptor is taken by idle connections could read no certificate any more.
  take_descriptors();
  const auto stores = std::make_shared<depot>();
  if (auto room = open_scratch(*facts, *stores, spec); !room)
    return room;
  facts->stores = stores;
  auto lives = tree::grow(facts->limits.lanes, nullptr, facts->limits,
                          {.on = true, .security = std::move(*files)});
  if (!lives)
    return tl::unexpected(lives.error());
  facts->lanes = [&lives] { return lives->lanes(); };
  const auto sessions = std::make_shared<std::atomic<std::uint32_t>>(0);
  const auto life = std::make_shared<life_port>();
  const auto door = start_reception(
    *lives, {facts, lives->jobs(), look_at(*lives, facts, sessions, life), sessions});
  if (!door)
    return tl::unexpected(door.error());
  if (auto open = open_ports(*where, *security, *stores, *life, *door, facts->rights);
      !open)
    return open;
  if (observer.on_up)
    observer.on_up(where->text());
  return wait(*lives, *door, spec, observer, *sessions, *facts->rights);
}

} // namespace viva
