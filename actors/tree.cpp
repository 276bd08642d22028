#include "actors/tree.hpp"

#include "actors/collector.hpp"
#include "actors/journal.hpp"
#include "actors/lane.hpp"
#include "actors/node/middleman.hpp"
#include "actors/port.hpp"
#include "actors/start_limit.hpp"
#include "supervision/process.hpp"
#include "supervision/scheduler.hpp"
#include "supervision/spawn.hpp"
#include "supervision/supervisor.hpp"

#include <caf/all.hpp>
#include <spdlog/spdlog.h>

#include <functional>
#include <mutex>

namespace viva::actors {

using supervision::child_spec;
using supervision::milliseconds;
using supervision::strategy;

/// Makes one lane of whatever kind.
using lane_start
  = std::function<supervision::start_result(caf::event_based_actor*, const std::string& id)>;

struct tree::roster {
  lane_start lane_of; // set before anybody else sees the roster
  std::vector<child_spec> device_lanes;
  std::mutex guard;
  caf::actor journal, collector, lanes, devices, jobs;

  caf::actor set(caf::actor roster::* who, caf::actor handle) {
    const std::lock_guard lock{guard};
    this->*who = handle;
    return handle;
  }
  caf::actor get(caf::actor roster::* who) {
    const std::lock_guard lock{guard};
    return this->*who;
  }
};

namespace {

// A lane may die often and come back at once; a lane that cannot even start is what backs off. A
// try costs most of a millisecond, and two lanes try forty times a second at most.
constexpr supervision::backoff_options lane_backoff{milliseconds{1}, milliseconds{100},
                                                    milliseconds{100}};
constexpr std::uint32_t lane_restarts_max = 1000; // within lane_period, over all lanes
constexpr milliseconds lane_period{10'000};
constexpr std::uint32_t link_restarts_max = 20; // they lose connections, they do not die
constexpr std::uint32_t lane_start_retries = 20; // a program that is no lane ends within a second
constexpr milliseconds stop_deadline{30'000};
constexpr milliseconds device_start_limit{90'000}; // beyond its port's own, which knows more

/// The lane's meter, for one more life of it.
std::shared_ptr<lane_meter> meter_of(meter_board& board, const std::string& id) {
  auto meter = board.hang(id);
  meter->begin_life();
  return meter;
}

lane_start thread_lanes(std::shared_ptr<meter_board> board) {
  return [board](caf::event_based_actor* sup, const std::string& id) {
    return supervision::start_result{
      supervision::spawn<caf::detached>(sup, lane, id, meter_of(*board, id))};
  };
}

supervision::subscriber death_clerk(std::shared_ptr<meter_board> board) {
  supervision::subscriber clerk;
  clerk.on_down = [board = std::move(board)](const supervision::child_down& down) {
    if (!(down.reason == caf::exit_reason::user_shutdown)) // nobody died of being told to end
      board->note_death(supervision::to_text(down.reason));
  };
  return clerk;
}

lane_start process_lanes(std::shared_ptr<meter_board> board,
                         std::shared_ptr<supervision::guardian> keeper,
                         const job_limits& limits) {
  const auto source = std::make_shared<supervision::standby>(
    std::move(keeper), lane_process_options(lane_program_of(limits)), true);
  const std::chrono::seconds stall{limits.stall_seconds};
  return [board, source, stall](caf::event_based_actor* sup, const std::string& id) {
    return supervision::start_result{supervision::starting(
      supervision::spawn(sup, port, port_options{id, source, meter_of(*board, id), stall}))};
  };
}

child_spec lane_spec(const std::string& id, const lane_start& start) {
  child_spec spec;
  spec.id = id;
  spec.start = [id, start](caf::event_based_actor* sup) { return start(sup, id); };
  return spec;
}

/// A lane for each device. Without a spare: a second context takes memory from the first.
std::vector<child_spec> device_specs(const std::shared_ptr<meter_board>& board,
                                     const std::shared_ptr<supervision::guardian>& keeper,
                                     const job_limits& limits) {
  std::vector<child_spec> specs;
  for (const int number : limits.devices) {
    const auto source = std::make_shared<supervision::standby>(
      keeper, device_process_options(lane_program_of(limits), number), false);
    const auto health = std::make_shared<device_health>();
    const std::chrono::seconds stall{limits.stall_seconds};
    const auto start = [=](caf::event_based_actor* sup,
                           const std::string& id) -> supervision::start_result {
      if (!health->usable())
        return supervision::ignore;
      return supervision::starting(supervision::spawn(
        sup, port, port_options{id, source, meter_of(*board, id), stall, health}));
    };
    specs.push_back(lane_spec("cuda-" + std::to_string(number), start));
    specs.back().start_timeout = device_start_limit;
  }
  return specs;
}

supervision::supervisor_options lanes_options(std::string name,
                                              const std::shared_ptr<meter_board>& board) {
  supervision::supervisor_options options;
  options.name = std::move(name);
  options.intensity = lane_restarts_max;
  options.period = lane_period;
  options.backoff = lane_backoff;
  options.start_retries = lane_start_retries;
  options.subscribers = {death_clerk(board)};
  return options;
}

std::vector<child_spec> lane_specs(std::uint32_t lanes, const lane_start& start) {
  std::vector<child_spec> specs;
  for (std::uint32_t i = 0; i < lanes; ++i)
    specs.push_back(lane_spec("lane-" + std::to_string(i), start));
  return specs;
}

std::vector<child_spec> link_specs(const std::vector<node::link_options>& links) {
  std::vector<child_spec> specs;
  for (const auto& options : links) {
    child_spec spec;
    spec.id = options.where.text();
    spec.start = [options](caf::event_based_actor* sup) {
      return supervision::spawn<caf::detached>(sup, node::link, options);
    };
    specs.push_back(std::move(spec));
  }
  return specs;
}

child_spec supervisor_child(std::string id, supervision::start_function start) {
  child_spec spec;
  spec.id = std::move(id);
  spec.start = std::move(start);
  spec.type = supervision::child_type::supervisor;
  return spec;
}

child_spec worker_child(std::string id, supervision::start_function start) {
  child_spec spec;
  spec.id = std::move(id);
  spec.start = std::move(start);
  return spec;
}

child_spec links_child(const std::vector<node::link_options>& all) {
  return supervisor_child("links", [links = link_specs(all)](caf::event_based_actor* sup) {
    supervision::supervisor_options options;
    options.name = "links";
    options.intensity = link_restarts_max;
    options.period = lane_period;
    return supervision::starting(supervision::spawn_supervisor(sup, options, links));
  });
}

} // namespace

expected<tree> tree::grow(std::uint32_t lanes, std::shared_ptr<journal_file> journal_bytes,
                          const job_limits& limits, tree_network network) {
  tree t;
  t.x_config = std::make_unique<caf::actor_system_config>();
  t.x_config->set("scheduler.max-threads", 2);       // lanes and the journal have their own
  t.x_config->set("scheduler.max-throughput", 200);  // or one busy actor starves the rest
  supervision::use_fair_scheduler(*t.x_config);
  if (network.on)
    t.x_certificates = node::load_middleman(*t.x_config, network.security);
  t.x_system = std::make_unique<caf::actor_system>(*t.x_config);
  supervision::reporter_options reporting;
  reporting.log = spdlog::default_logger();
  t.x_reports = std::make_shared<supervision::reporter>(reporting);
  t.x_people = std::make_shared<supervision::census>();
  t.x_board = std::make_shared<meter_board>();
  t.x_roster = std::make_shared<roster>();
  auto people = t.x_roster;
  auto board = t.x_board;
  const bool processes = limits.lanes_are == isolation::process;
  if (processes || !limits.devices.empty())
    t.x_guardian = std::make_shared<supervision::guardian>();
  people->lane_of = processes ? process_lanes(board, t.x_guardian, limits) : thread_lanes(board);
  people->device_lanes = device_specs(board, t.x_guardian, limits);
  std::vector<child_spec> specs;
  specs.push_back(worker_child("journal", [=](caf::event_based_actor* sup) {
    return people->set(&roster::journal,
                       supervision::spawn<caf::detached>(sup, journal, journal_bytes));
  }));
  specs.push_back(supervisor_child("lanes", [=](caf::event_based_actor* sup) {
    return supervision::starting(people->set(
      &roster::lanes, supervision::spawn_supervisor(sup, lanes_options("lanes", board),
                                                    lane_specs(lanes, people->lane_of))));
  }));
  if (!limits.devices.empty())
    specs.push_back(supervisor_child("devices", [=](caf::event_based_actor* sup) {
      return supervision::starting(people->set(
        &roster::devices,
        supervision::spawn_supervisor(sup, lanes_options("devices", board), {})));
    }));
  for (auto& each : network.links) {
    each.lanes = [people] { return people->get(&roster::lanes); };
    each.meters = board;
  }
  if (!network.links.empty())
    specs.push_back(links_child(network.links));
  specs.push_back(supervisor_child("jobs", [=](caf::event_based_actor* sup) {
    supervision::supervisor_options options;
    options.name = "jobs";
    return supervision::starting(
      people->set(&roster::jobs, supervision::spawn_supervisor(sup, options, {})));
  }));
  specs.push_back(meters_child(board, {}, [people](caf::actor who) {
    people->set(&roster::collector, std::move(who));
  }));
  supervision::supervisor_options root;
  root.name = "root";
  root.how = strategy::rest_for_one;
  root.reports = t.x_reports;
  root.people = t.x_people;
  root.bucket = limit_of_starts();
  auto up = supervision::start_supervisor(*t.x_system, root, std::move(specs));
  if (!up)
    return fail(errc::fault, "the supervision tree did not start: "
                               + supervision::to_text(up.error())
                               + ". What is done is kept: run the same command again");
  t.x_root = std::move(*up);
  return t;
}

tree::~tree() {
  if (!x_system)
    return;
  if (x_root)
    supervision::stop_supervisor(x_root, stop_deadline);
  x_root = nullptr;
  x_roster.reset();
  x_reports.reset();
  x_system.reset(); // waits for every actor
  x_guardian.reset();
}

caf::actor tree::collector() const {
  return x_roster->get(&roster::collector);
}

caf::actor tree::lanes() const {
  return x_roster->get(&roster::lanes);
}

caf::actor tree::jobs() const {
  return x_roster->get(&roster::jobs);
}

snapshot tree::meters() const {
  auto answer = ask_collector([this] { return collector(); });
  return answer ? std::move(*answer) : read_meters(*x_board);
}

std::vector<supervision::tree> tree::census() const {
  return x_people->dump(x_system->clock().now());
}

void tree::start_devices() {
  for (const auto& spec : x_roster->device_lanes)
    caf::anon_send(x_roster->get(&roster::devices), supervision::start_child{spec});
}

expected<caf::actor> tree::start_job(conductor_options options) {
  options.journal = x_roster->get(&roster::journal);
  options.lanes = x_roster->get(&roster::lanes);
  options.devices = x_roster->get(&roster::devices);
  options.isolation = lane_spec(isolation_lane, x_roster->lane_of);
  child_spec spec;
  spec.id = "conductor";
  spec.restart = supervision::temporary;
  spec.start = [options](caf::event_based_actor* sup) {
    return supervision::spawn(sup, conductor, options);
  };
  return start(std::move(spec));
}

expected<caf::actor> tree::start(child_spec spec) {
  const auto id = spec.id;
  auto up = supervision::ask<supervision::started>(jobs(),
                                                   supervision::start_child{std::move(spec)});
  if (!up)
    return fail(errc::fault, "the " + id + " did not start: " + supervision::to_text(up.error()));
  return up->who;
}

} // namespace viva::actors
