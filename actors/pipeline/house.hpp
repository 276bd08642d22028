#pragma once

// House: the lives of one pipeline, and what all who use it share.
//
//   root  rest_for_one
//    ├─ lanes             one_for_one: lane-0 … lane-n, permanent; detached, or ports to processes
//    │                    or to lanes of nodes
//    └─ meters            one_for_one: the collector, permanent; last, so that its end ends nobody
//
// `floor` is what futures and streams keep; it may outlive the house, and then refuses all work.

#include "actors/meter.hpp"
#include "actors/snapshot.hpp"
#include "actors/pipeline.hpp"
#include "actors/pipeline/far_lanes.hpp"
#include "actors/pipeline/alarm.hpp"
#include "actors/pipeline/budget.hpp"
#include "actors/pipeline/desk.hpp"
#include "actors/pipeline/lane_peer.hpp"
#include "actors/pipeline/resident_jobs.hpp"
#include "actors/pipeline/shared_bytes.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace viva::supervision {
class guardian;
class reporter;
} // namespace viva::supervision

namespace viva::actors {

/// What waits, and for what; of the desk, the budget and the streams.
struct pipeline_floor;
queue_report read_queue(const pipeline_floor&);

/// No handle of an actor is in here: one that outlives its system is a crash.
struct pipeline_floor {
  explicit pipeline_floor(const pipeline_options&);

  const std::uint32_t lanes;
  const std::uint32_t seats; ///< At the desk, of each lane.
  std::shared_ptr<desk> work;
  std::shared_ptr<budget> room;
  std::shared_ptr<resident_store> store = std::make_shared<resident_store>();
  const std::shared_ptr<meter_board> board = std::make_shared<meter_board>();
  shared_histogram latency; // of tensors in streams, from sent to received
  const std::shared_ptr<alarm> clock = std::make_shared<alarm>();
  resident_place residents() const {
    return {work, store, lanes, shares};
  }
  /// For outcome::on_withdraw; holds nobody alive.
  arm_function arm() const;
  std::vector<std::shared_ptr<lane_meter>> meters;              // one a lane
  std::vector<std::shared_ptr<std::atomic<bool>>> condemned;    // one a lane
  /// Where ranges of an attention's keys are computed, and copies of them stay.
  lane_grid homes() const {
    return nodes.empty() ? lane_grid{} : lane_grid{lanes, seats};
  }
  std::shared_ptr<shared_table> shares; // where lanes are processes or of nodes, else null
  const std::vector<std::string> nodes;
};

class pipeline_house {
public:
  /// Starts everything and waits until it is up.
  static expected<std::unique_ptr<pipeline_house>> build(std::shared_ptr<pipeline_floor>,
                                                         const pipeline_options&);
  ~pipeline_house();

  /// What lanes did, as the collector has it.
  snapshot meters() const;
  void kill_collector();

private:
  /// The handle of what is restarted; written by its start function, read by anybody.
  struct roster;

  pipeline_house() = default;
  /// What lanes come from, and what they need of the system to be.
  expected<void> equip(const pipeline_options&);

  std::shared_ptr<pipeline_floor> x_floor;
  std::shared_ptr<supervision::guardian> x_guardian; ///< Of lane processes; outlives all actors.
  std::unique_ptr<far_lanes> x_far; ///< Null where lanes are of this machine.
  std::function<peer_source(std::size_t lane)> x_peers; ///< Null where they are threads.
  std::unique_ptr<caf::actor_system_config> x_config;
  std::unique_ptr<caf::actor_system> x_system;
  std::shared_ptr<supervision::reporter> x_reports;
  std::shared_ptr<roster> x_roster;
  caf::actor x_root;
};

} // namespace viva::actors
