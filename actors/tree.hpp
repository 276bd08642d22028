#pragma once

// Tree: the lives of one process that runs jobs. The only place where supervision meets lanes.
//
//   root  rest_for_one
//    ├─ journal           permanent, detached
//    ├─ lanes             one_for_one: lane-0 … lane-n, permanent; detached, or ports to processes;
//    │                    isolation, where a shard has killed others; remote lanes, temporary
//    ├─ devices           one_for_one: lanes cuda-0 … that have a device, permanent; ports to
//    │                    processes. Only where there are devices, and begun with none: what a
//    │                    device does at its start keeps nobody waiting
//    ├─ links             one_for_one: one for each node, permanent; only where there are nodes
//    ├─ jobs              dynamic: one conductor for each job, temporary
//    └─ meters            one_for_one: the collector, permanent; last, so that its end, or its
//                         supervisor's, ends nobody else

#include "actors/conductor.hpp"
#include "actors/meter.hpp"
#include "actors/node/link.hpp"
#include "actors/node/tls.hpp"
#include "actors/snapshot.hpp"
#include "supervision/census.hpp"
#include "supervision/report.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>

#include <memory>
#include <vector>

namespace viva::supervision {
class guardian;
}

namespace viva::actors {

/// What a process has with other machines.
struct tree_network {
  bool on = false; ///< Without it no port is opened and no connection made.
  std::optional<node::tls_files> security{};
  std::vector<node::link_options> links{}; ///< Their `lanes` and `meters` are filled in.
};

class tree {
public:
  /// Starts everything and waits until it is up; `limits` say what lanes are.
  static expected<tree> grow(std::uint32_t lanes, std::shared_ptr<journal_file> journal,
                             const job_limits& limits = {}, tree_network network = {});
  tree(tree&&) = default;
  tree& operator=(tree&&) = delete;
  /// Stops everything, last child first.
  ~tree();

  caf::actor_system& system() noexcept {
    return *x_system;
  }
  const meter_board& board() const noexcept {
    return *x_board;
  }
  caf::actor collector() const;
  /// The supervisors of lanes and of jobs, in their lives of now.
  caf::actor lanes() const;
  caf::actor jobs() const;
  /// What lanes did, as the collector has it. For plain threads.
  snapshot meters() const;
  /// Who lives, as supervision/census.hpp tells it; asks and waits for nobody.
  std::vector<supervision::tree> census() const;

  /// Lets the lanes of devices begin, each when it is ready. Once, after `start_job`.
  void start_devices();
  /// Starts a conductor; `journal`, `lanes`, `devices`, `isolation` of its options are filled in
  /// here.
  expected<caf::actor> start_job(conductor_options options);
  /// Starts any child of the supervisor of jobs.
  expected<caf::actor> start(supervision::child_spec spec);

private:
  /// Handles of what may be restarted; written by start functions, read by anybody.
  struct roster;

  tree() = default;

  std::shared_ptr<supervision::guardian> x_guardian; ///< Of lane processes; outlives all actors.
  std::vector<supervision::descriptor> x_certificates; ///< Read for each connection.
  std::unique_ptr<caf::actor_system_config> x_config;
  std::unique_ptr<caf::actor_system> x_system;
  std::shared_ptr<supervision::reporter> x_reports;
  std::shared_ptr<supervision::census> x_people;
  std::shared_ptr<meter_board> x_board;
  std::shared_ptr<roster> x_roster;
  caf::actor x_root;
};

} // namespace viva::actors
