#include "actors/node/serve.hpp"

#include "actors/collector.hpp"
#include "actors/node/middleman.hpp"
#include "actors/node/reception.hpp"
#include "actors/node/roots.hpp"
#include "actors/tree.hpp"
#include "supervision/spawn.hpp"
#include "supervision/supervisor.hpp"

#include <caf/all.hpp>
#include <spdlog/spdlog.h>

#include <thread>

#include <sys/resource.h>
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

/// As many descriptors as this user may have: a node whose last one is taken by idle connections
/// cannot read its certificates for the next, and CAF ends the process over that.
void take_descriptors() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
}

/// How the node is, for whoever asks.
std::function<welcome()> look_at(const tree& lives, std::shared_ptr<const node_facts> facts,
                                 std::shared_ptr<std::atomic<std::uint32_t>> sessions,
                                 clock::time_point began) {
  return [&lives, facts = std::move(facts), sessions = std::move(sessions), began] {
    const auto meters = read_meters(lives.board());
    welcome now;
    now.build = facts->build;
    now.host = host_name();
    now.pid = static_cast<std::uint32_t>(::getpid());
    now.lanes = facts->limits.lanes;
    now.jobs = *sessions;
    now.restarts = meters.restarts;
    for (const auto& lane : meters.lanes)
      now.shards += lane.shards;
    now.up_ms = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(clock::now() - began).count());
    return now;
  };
}

/// Until it is told to leave, or its reception is lost.
expected<void> wait(tree& lives, const caf::actor& door, const node_spec& spec,
                    const node_observer& observer, const std::atomic<std::uint32_t>& sessions) {
  caf::scoped_actor self{lives.system()};
  self->monitor(door);
  bool lost = false;
  const auto listen = [&] {
    self->receive([&](const caf::down_msg&) { lost = true; }, caf::after(look_every) >> [] {});
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

} // namespace

expected<void> run_node(const node_spec& spec, const node_observer& observer) {
  auto where = parse_address(spec.listen);
  if (!where)
    return tl::unexpected(where.error());
  auto facts = std::make_shared<node_facts>();
  auto roots = parse_roots(spec.roots);
  if (!roots)
    return tl::unexpected(roots.error());
  auto security = security_of({*where}, spec.limits.tls, spec.limits.insecure);
  if (!security)
    return tl::unexpected(security.error());
  facts->build = spec.claims.empty() ? build_words(kernels::path::simd) : spec.claims;
  facts->roots = std::move(*roots);
  facts->limits = spec.limits;
  if (facts->limits.lanes == 0)
    facts->limits.lanes = std::max(1u, std::thread::hardware_concurrency());
  facts->allow_faults = spec.allow_faults;
  take_descriptors();
  auto lives = tree::grow(facts->limits.lanes, nullptr, facts->limits,
                          {.on = true, .security = std::move(*security)});
  if (!lives)
    return tl::unexpected(lives.error());
  facts->lanes = [&lives] { return lives->lanes(); };
  const auto sessions = std::make_shared<std::atomic<std::uint32_t>>(0);
  const reception_options options{facts, lives->jobs(),
                                  look_at(*lives, facts, sessions, clock::now()), sessions};
  supervision::child_spec child;
  child.id = "reception";
  child.restart = supervision::temporary;
  child.start = [options](caf::event_based_actor* sup) {
    return supervision::spawn(sup, reception, options);
  };
  const auto door = lives->start(std::move(child));
  if (!door)
    return tl::unexpected(door.error());
  const auto port = node::publish(*door, *where);
  if (!port)
    return tl::unexpected(port.error());
  where->port = *port;
  if (observer.on_up)
    observer.on_up(where->text());
  return wait(*lives, *door, spec, observer, *sessions);
}

} // namespace viva
