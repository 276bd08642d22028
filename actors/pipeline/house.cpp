#include "actors/pipeline/house.hpp"

#include "actors/collector.hpp"
#include "actors/pipeline/tensor_lane.hpp"
#include "actors/pipeline/tensor_port.hpp"
#include "actors/port.hpp"
#include "actors/start_limit.hpp"
#include "supervision/process.hpp"
#include "supervision/report.hpp"
#include "supervision/scheduler.hpp"
#include "supervision/spawn.hpp"
#include "supervision/supervisor.hpp"

#include <caf/all.hpp>
#include <caf/logger.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <mutex>
#include <new>
#include <thread>

namespace viva::actors {
namespace {

using supervision::milliseconds;

constexpr supervision::backoff_options lane_backoff{milliseconds{1}, milliseconds{50},
                                                    milliseconds{100}};
// Within lane_period: of a lane of this machine that always dies the backoff allows some 300, so
// that it ends the pipeline instead of keeping callers waiting for ever.
constexpr std::uint32_t lane_restarts_each = 150, lane_restarts_max = 1000;
constexpr milliseconds lane_period{10'000};
constexpr milliseconds root_period{60'000}; // in which the lanes' supervisor may give up once
constexpr std::uint32_t lane_start_retries = 20; // a program that is no lane ends within a second
constexpr std::uint32_t lane_lives_max = 3; // that one unit may end before it fails
constexpr std::uint32_t parked_max = 64 << 10;

std::uint32_t lanes_of(const pipeline_options& options) {
  if (!options.nodes.empty())
    return static_cast<std::uint32_t>(options.nodes.size()) * std::max(1u, options.lanes);
  return options.lanes != 0 ? options.lanes : std::max(1u, std::thread::hardware_concurrency());
}

using lane_sources = std::function<peer_source(std::size_t lane)>;

/// Where tensors' bytes must be in shared memory.
bool are_remote(const pipeline_options& options) {
  return options.isolation == isolation::process || !options.nodes.empty();
}

std::string lane_id(std::size_t lane) {
  return "lane-" + std::to_string(lane);
}

std::size_t lane_index(const std::string& id) {
  return std::stoul(id.substr(id.find('-') + 1));
}

/// What every start of lane i begins with.
void begin_life(pipeline_floor& floor, std::size_t i) {
  floor.condemned[i]->store(false);
  floor.meters[i]->begin_life();
}

supervision::start_function thread_lane(const std::shared_ptr<pipeline_floor>& floor,
                                        std::size_t i) {
  return [floor, i](caf::event_based_actor* sup) {
    begin_life(*floor, i);
    return supervision::start_result{supervision::spawn<caf::detached>(
      sup, tensor_lane,
      tensor_lane_place{i, floor->work->begin_life(i), floor->work, floor->meters[i],
                        floor->condemned[i]})};
  };
}

/// From now on the desk wakes it.
void seats_up(const pipeline_floor& floor, std::size_t lane, const caf::actor& port) {
  for (std::size_t seat = 0; seat < floor.seats; ++seat)
    floor.work->lane_up(lane + seat * floor.lanes,
                        [port, seat] { caf::anon_send(port, seat_wake{seat}); });
}

// A port of a node's lane is up at once, however long its node is away, and says by itself when it
// can work.
supervision::start_function remote_lane(const std::shared_ptr<pipeline_floor>& floor,
                                        std::size_t i, peer_source source) {
  return [floor, i, source](caf::event_based_actor* sup) {
    begin_life(*floor, i);
    tensor_port_place place{i, floor->lanes, {}, floor->work, floor->meters[i],
                            floor->condemned[i], source, {}};
    for (std::size_t seat = 0; seat < floor->seats; ++seat)
      place.lives.push_back(floor->work->begin_life(i + seat * floor->lanes));
    const bool far = !floor->nodes.empty();
    if (far)
      place.on_ready = [floor, i](const caf::actor& port) { seats_up(*floor, i, port); };
    const auto port = supervision::spawn(sup, tensor_port, std::move(place));
    return far ? supervision::start_result{port}
               : supervision::start_result{supervision::starting(port)};
  };
}

std::vector<supervision::child_spec>
lane_specs(const std::shared_ptr<pipeline_floor>& floor, const lane_sources& peers) {
  std::vector<supervision::child_spec> specs;
  for (std::size_t i = 0; i < floor->lanes; ++i) {
    supervision::child_spec spec;
    spec.id = lane_id(i);
    spec.start = peers ? remote_lane(floor, i, peers(i)) : thread_lane(floor, i);
    // A thread reads and writes what is the caller's until its handler returns, however long that
    // takes: whoever gave it up earlier would tell the caller too early that it may be freed.
    if (!peers)
      spec.shutdown = supervision::shutdown_policy::infinity();
    specs.push_back(std::move(spec));
  }
  return specs;
}

// The desk learns of lives here, inside their supervisor: no message, no gap.
// A lane that was killed is no fault of the unit it had.
supervision::subscriber desk_clerk(const std::shared_ptr<pipeline_floor>& floor) {
  supervision::subscriber clerk;
  clerk.on_up = [floor](const supervision::child_up& up) {
    const auto first = lane_index(up.id);
    if (floor->shares == nullptr)
      return floor->work->lane_up(first,
                                  [who = up.who] { caf::anon_send(who, next_unit{}); });
    if (floor->nodes.empty())
      seats_up(*floor, first, up.who);
  };
  clerk.on_down = [floor](const supervision::child_down& down) {
    const auto lane = lane_index(down.id);
    const bool blame = !floor->condemned[lane]->load()
                       && (floor->shares == nullptr
                           || supervision::blame_of(down.reason) == supervision::blame::work);
    const auto how = supervision::to_text(down.reason);
    floor->board->note_death(how);
    try {
      floor->meters[lane]->tell(); // before siblings can end what it worked on
    } catch (const std::bad_alloc&) { // its next life tells
    }
    for (std::size_t seat = 0; seat < floor->seats; ++seat)
      floor->work->lane_down(lane + seat * floor->lanes, blame, how);
  };
  return clerk;
}

supervision::child_spec
lane_supervisor(const std::shared_ptr<pipeline_floor>& floor, const lane_sources& peers) {
  supervision::child_spec spec;
  spec.id = "lanes";
  spec.type = supervision::child_type::supervisor;
  spec.start = [floor, peers](caf::event_based_actor* sup) {
    supervision::supervisor_options options;
    options.name = "lanes";
    options.intensity = std::min(lane_restarts_max, lane_restarts_each * floor->lanes);
    options.period = lane_period;
    options.backoff = lane_backoff;
    options.start_retries = peers ? lane_start_retries : 0;
    options.subscribers = {desk_clerk(floor)};
    return supervision::starting(
      supervision::spawn_supervisor(sup, options, lane_specs(floor, peers)));
  };
  return spec;
}

} // namespace

pipeline_floor::pipeline_floor(const pipeline_options& options)
    : lanes(lanes_of(options)),
      seats(are_remote(options) ? seats_a_process : 1),
      work(std::make_shared<desk>(lanes * seats, lane_lives_max, !options.nodes.empty())),
      room(std::make_shared<budget>(budget::amount{options.budget_bytes, options.budget_tickets},
                                    parked_max)),
      nodes(options.nodes) {
  if (are_remote(options))
    shares = std::make_shared<shared_table>(
      [desk = std::weak_ptr(work)] {
        if (const auto still = desk.lock())
          still->nudge(); // so that lanes let go of it, too
      },
      nodes.empty());
  for (std::uint32_t i = 0; i < lanes; ++i) {
    meters.push_back(board->hang(lane_id(i)));
    condemned.push_back(std::make_shared<std::atomic<bool>>(false));
  }
}

arm_function pipeline_floor::arm() const {
  return [from = std::weak_ptr(clock)](deadline when, std::function<void()> call) {
    const auto still = from.lock();
    return still ? still->at(when, std::move(call)) : nullptr;
  };
}

queue_report read_queue(const pipeline_floor& floor) {
  queue_report result;
  const auto work = floor.work->count();
  result.tickets = work.units;
  // A lane that is a thread sends itself a message for each unit; a process gets a frame a hand,
  // and sends one with what came of it.
  result.messages = (floor.shares == nullptr ? work.units : 2 * work.hands) + work.in_vain;
  result.tickets_lost = work.lost;
  result.waiting = work.waiting;
  result.running = work.running;
  result.lanes_up = work.lanes_up;
  const auto used = floor.room->used();
  result.budget_bytes = used.bytes;
  result.budget_tickets = used.tickets;
  result.submits_waiting = floor.room->waiting();
  result.latency = report_of(floor.latency.read());
  return result;
}

struct pipeline_house::roster {
  std::mutex guard;
  caf::actor collector;
  std::uint64_t lives = 0;

  void set(caf::actor who) {
    const std::lock_guard lock{guard};
    lives += who ? 1 : 0;
    collector = std::move(who);
  }
  void count(snapshot& in) {
    const std::lock_guard lock{guard};
    in.queue->collector_lives = lives;
  }
  caf::actor get() {
    const std::lock_guard lock{guard};
    return collector;
  }
};

snapshot pipeline_house::meters() const {
  auto answer = ask_collector([this] { return x_roster->get(); });
  if (!answer) { // nobody lives who could
    answer = read_meters(*x_floor->board);
    answer->queue = read_queue(*x_floor);
  }
  x_roster->count(*answer);
  return std::move(*answer);
}

void pipeline_house::kill_collector() {
  if (const auto who = x_roster->get())
    supervision::urge_exit(who, {}, caf::exit_reason::kill);
}

expected<std::unique_ptr<pipeline_house>>
pipeline_house::build(std::shared_ptr<pipeline_floor> floor, const pipeline_options& options) {
  auto house = std::unique_ptr<pipeline_house>(new pipeline_house);
  house->x_floor = floor;
  house->x_config = std::make_unique<caf::actor_system_config>();
  // Lanes have threads of their own; those that speak to nodes may wait a second to reach one.
  house->x_config->set("scheduler.max-threads", options.nodes.empty() ? 1 : 1 + floor->lanes);
  house->x_config->set("scheduler.max-throughput", 200);
  supervision::use_fair_scheduler(*house->x_config);
  if (auto fine = house->equip(options); !fine)
    return tl::unexpected(fine.error());
  house->x_system = std::make_unique<caf::actor_system>(*house->x_config);
  supervision::reporter_options reporting;
  reporting.log = spdlog::default_logger()->clone("viva"); // a guest says only what goes wrong
  reporting.log->set_level(std::max(reporting.log->level(), spdlog::level::warn));
  house->x_reports = std::make_shared<supervision::reporter>(reporting);
  supervision::supervisor_options root;
  root.name = "pipeline";
  root.how = supervision::strategy::rest_for_one;
  root.period = root_period;
  root.reports = house->x_reports;
  root.bucket = limit_of_starts();
  const auto people = house->x_roster = std::make_shared<roster>();
  auto meters = meters_child(floor->board, [floor] { return read_queue(*floor); },
                             [people](caf::actor who) { people->set(std::move(who)); });
  auto lanes = lane_supervisor(floor, house->x_peers);
  auto up = supervision::start_supervisor(*house->x_system, root,
                                          {std::move(lanes), std::move(meters)});
  // The system ends once nobody has its logger, which this thread was just given: it would have to
  // be the one that ends it.
  caf::logger::set_current_actor_system(nullptr);
  const auto refuse = [&](const error& why) {
    floor->room->close(why); // before the house goes, which closes it for another reason
    floor->work->close(why);
    return tl::unexpected(why);
  };
  if (!up)
    return refuse({errc::fault, "the pipeline's supervision tree did not start: "
                                  + supervision::to_text(up.error())});
  house->x_root = std::move(*up);
  // Gives up only after its lanes' supervisor did so twice; then nobody is left to do the work.
  const auto give_up = [work = floor->work, room = floor->room](const error& why) {
    room->close(why);
    work->close(why);
  };
  house->x_root->attach_functor([give_up] {
    give_up({errc::fault, "the pipeline's supervisors gave up; make a new one"});
  });
  const auto lanes_up = [&] { return floor->work->count().lanes_up; };
  if (house->x_far)
    if (auto met = house->x_far->wait(lanes_up, floor->lanes * floor->seats); !met)
      return refuse(met.error());
  if (house->x_far)
    house->x_far->watch(give_up);
  return house;
}

expected<void> pipeline_house::equip(const pipeline_options& options) {
  if (!options.nodes.empty()) {
    auto far = far_lanes::of(options);
    if (!far)
      return tl::unexpected(far.error());
    x_far = std::move(*far);
    x_far->load(*x_config);
    x_peers = [this](std::size_t lane) { return x_far->source_of(lane); };
  } else if (options.isolation == isolation::process) {
    if (options.lane_program.empty())
      return fail(errc::bad_option, "lanes that are processes need a program: name viva in "
                                    "pipeline_options::lane_program");
    x_guardian = std::make_shared<supervision::guardian>();
    x_peers = [source = peers_from(std::make_shared<supervision::standby>(
                 x_guardian, lane_process_options(options.lane_program), true))](std::size_t) {
      return source;
    };
  }
  return {};
}

pipeline_house::~pipeline_house() {
  if (!x_system)
    return;
  const error why{errc::interrupted, "the pipeline is closed"};
  x_floor->room->close(why);
  x_floor->work->close(why);
  if (x_root)
    supervision::stop_supervisor(x_root);
  x_root = nullptr;
  x_roster->set(nullptr);
  x_reports.reset();
  x_system.reset(); // waits for every actor
  x_peers = nullptr;
  x_guardian.reset();
}

} // namespace viva::actors
