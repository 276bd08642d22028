#include "actors/pipeline/house.hpp"

#include "actors/pipeline/tensor_lane.hpp"
#include "supervision/report.hpp"
#include "supervision/scheduler.hpp"
#include "supervision/spawn.hpp"
#include "supervision/supervisor.hpp"

#include <caf/all.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <thread>

namespace viva::actors {
namespace {

using supervision::milliseconds;

constexpr supervision::backoff_options lane_backoff{milliseconds{1}, milliseconds{50},
                                                    milliseconds{100}};
constexpr std::uint32_t lane_restarts_max = 1000; // within lane_period, over all lanes
constexpr milliseconds lane_period{10'000};
constexpr milliseconds stop_deadline{30'000};
constexpr std::uint32_t lane_lives_max = 3; // that one unit may end before it fails
constexpr std::uint32_t parked_max = 64 << 10;

std::uint32_t lanes_of(const pipeline_options& options) {
  return options.lanes != 0 ? options.lanes : std::max(1u, std::thread::hardware_concurrency());
}

std::string lane_id(std::size_t lane) {
  return "lane-" + std::to_string(lane);
}

std::size_t lane_index(const std::string& id) {
  return std::stoul(id.substr(id.find('-') + 1));
}

std::vector<supervision::child_spec> lane_specs(const std::shared_ptr<pipeline_floor>& floor) {
  std::vector<supervision::child_spec> specs;
  for (std::size_t i = 0; i < floor->lanes; ++i) {
    supervision::child_spec spec;
    spec.id = lane_id(i);
    spec.start = [floor, i](caf::event_based_actor* sup) {
      floor->condemned[i]->store(false);
      return supervision::spawn<caf::detached>(
        sup, tensor_lane,
        tensor_lane_place{i, floor->work->begin_life(i), floor->work, floor->meters[i],
                          floor->condemned[i]});
    };
    specs.push_back(std::move(spec));
  }
  return specs;
}

// The desk learns of lives here, inside their supervisor: no message, no gap.
// A lane that was killed is no fault of the unit it had.
supervision::subscriber desk_clerk(const std::shared_ptr<pipeline_floor>& floor) {
  supervision::subscriber clerk;
  clerk.on_up = [work = floor->work](const supervision::child_up& up) {
    work->lane_up(lane_index(up.id), [who = up.who] { caf::anon_send(who, next_unit{}); });
  };
  clerk.on_down = [floor](const supervision::child_down& down) {
    const auto lane = lane_index(down.id);
    floor->deaths.note(supervision::to_text(down.reason));
    floor->work->lane_down(lane, !floor->condemned[lane]->load());
  };
  return clerk;
}

supervision::child_spec lane_supervisor(const std::shared_ptr<pipeline_floor>& floor) {
  supervision::child_spec spec;
  spec.id = "lanes";
  spec.type = supervision::child_type::supervisor;
  spec.start = [floor](caf::event_based_actor* sup) {
    supervision::supervisor_options options;
    options.name = "lanes";
    options.intensity = lane_restarts_max;
    options.period = lane_period;
    options.backoff = lane_backoff;
    options.subscribers = {desk_clerk(floor)};
    return supervision::starting(supervision::spawn_supervisor(sup, options, lane_specs(floor)));
  };
  return spec;
}

} // namespace

pipeline_floor::pipeline_floor(const pipeline_options& options)
    : lanes(lanes_of(options)), work(std::make_shared<desk>(lanes, lane_lives_max)),
      room(std::make_shared<budget>(budget::amount{options.budget_bytes, options.budget_tickets},
                                    parked_max)) {
  for (std::uint32_t i = 0; i < lanes; ++i) {
    meters.push_back(board.hang(lane_id(i)));
    condemned.push_back(std::make_shared<std::atomic<bool>>(false));
  }
}

expected<std::unique_ptr<pipeline_house>>
pipeline_house::build(std::shared_ptr<pipeline_floor> floor) {
  auto house = std::unique_ptr<pipeline_house>(new pipeline_house);
  house->x_floor = floor;
  house->x_config = std::make_unique<caf::actor_system_config>();
  house->x_config->set("scheduler.max-threads", 1); // lanes have their own
  house->x_config->set("scheduler.max-throughput", 200);
  supervision::use_fair_scheduler(*house->x_config);
  house->x_system = std::make_unique<caf::actor_system>(*house->x_config);
  supervision::reporter_options reporting;
  reporting.log = spdlog::default_logger()->clone("viva"); // a guest says only what goes wrong
  reporting.log->set_level(std::max(reporting.log->level(), spdlog::level::warn));
  house->x_reports = std::make_shared<supervision::reporter>(reporting);
  supervision::supervisor_options root;
  root.name = "pipeline";
  root.how = supervision::strategy::rest_for_one;
  root.reports = house->x_reports;
  auto up = supervision::start_supervisor(*house->x_system, root, {lane_supervisor(floor)});
  if (!up)
    return fail(errc::fault, "the pipeline's supervision tree did not start: "
                               + supervision::to_text(up.error()));
  house->x_root = std::move(*up);
  // Gives up only after its lanes' supervisor did so twice; then nobody is left to do the work.
  house->x_root->attach_functor([work = floor->work, room = floor->room] {
    room->close();
    work->close({errc::fault, "the pipeline's supervisors gave up; make a new one"});
  });
  return house;
}

pipeline_house::~pipeline_house() {
  if (!x_system)
    return;
  x_floor->room->close();
  x_floor->work->close({errc::interrupted, "the pipeline is closed"});
  if (x_root)
    supervision::stop_supervisor(x_root, stop_deadline);
  x_root = nullptr;
  x_reports.reset();
  x_system.reset(); // waits for every actor
}

} // namespace viva::actors
