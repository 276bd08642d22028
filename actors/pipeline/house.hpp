#pragma once

// House: the lives of one pipeline, and what all who use it share.
//
//   root  rest_for_one
//    └─ lanes             one_for_one: lane-0 … lane-n, permanent, detached
//
// `floor` is what futures and streams keep; it may outlive the house, and then refuses all work.

#include "actors/meter.hpp"
#include "actors/pipeline.hpp"
#include "actors/pipeline/budget.hpp"
#include "actors/pipeline/desk.hpp"
#include "actors/pipeline/resident.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace viva::supervision {
class reporter;
} // namespace viva::supervision

namespace viva::actors {

/// How lanes ended, by the first word of the reason. Written by their supervisor, read by anybody.
class death_book {
public:
  void note(const std::string& reason) {
    const std::lock_guard lock{x_guard};
    ++x_counts[reason.substr(0, reason.find(':'))];
  }
  std::map<std::string, std::uint64_t> read() const {
    const std::lock_guard lock{x_guard};
    return x_counts;
  }

private:
  mutable std::mutex x_guard;
  std::map<std::string, std::uint64_t> x_counts;
};

/// No handle of an actor is in here: one that outlives its system is a crash.
struct pipeline_floor {
  explicit pipeline_floor(const pipeline_options&);

  const std::uint32_t lanes;
  std::shared_ptr<desk> work;
  std::shared_ptr<budget> room;
  std::shared_ptr<resident_store> store = std::make_shared<resident_store>();
  meter_board board;
  death_book deaths;
  latency_histogram latency; // of tensors in streams, from sent to received
  std::vector<std::shared_ptr<lane_meter>> meters;              // one a lane, over all its lives
  std::vector<std::shared_ptr<std::atomic<bool>>> condemned;    // one a lane
};

class pipeline_house {
public:
  /// Starts everything and waits until it is up.
  static expected<std::unique_ptr<pipeline_house>> build(std::shared_ptr<pipeline_floor>);
  ~pipeline_house();

private:
  pipeline_house() = default;

  std::shared_ptr<pipeline_floor> x_floor;
  std::unique_ptr<caf::actor_system_config> x_config;
  std::unique_ptr<caf::actor_system> x_system;
  std::shared_ptr<supervision::reporter> x_reports;
  caf::actor x_root;
};

} // namespace viva::actors
