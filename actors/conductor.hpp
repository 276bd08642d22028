#pragma once

// Conductor: runs one job, then leaves. A thin shell: job_policy decides, this sends.
//
//   hears    run_job               -> job_outcome to the one named in it, exactly once
//            child_up, child_down  from the supervisors of lanes: seats come and go
//            batch_receipt         from lanes
//            stop_job, fail_job    no more tickets; what is durable stays so
//   asks     lanes: batch; journal: commit, publish; lane supervisors: an isolation lane, the end
//            of one whose work nobody needs any more
//   ends     with the outcome
//   child    temporary, of the job supervisor: its loss fails its own job, no other
//
// The conductor retries work and restarts nobody; supervisors restart actors and retry nothing.

#include "actors/job_policy.hpp"
#include "actors/messages.hpp"
#include "supervision/child.hpp"

#include <caf/stateful_actor.hpp>

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>

namespace viva::actors {

struct conductor_options {
  site_ptr site;
  earlier_run earlier; ///< Durable shards of it verified.
  policy_options policy;
  std::chrono::milliseconds commit_every{250};
  supervision::child_spec isolation; ///< The lane for shards that killed others.
  caf::actor journal, lanes;         ///< The latter a supervisor; its children are the lanes.
  caf::actor devices; ///< Another, of lanes that have a device; null where there are none.
  /// How long lanes that were lost may still write into the output, which gets its name after;
  /// empty: none does.
  std::function<std::chrono::milliseconds()> strays{};
};

struct conductor_state {
  struct seat {
    caf::actor lane;
    lane_mark mark;
  };
  conductor_options options;
  std::optional<job_policy> policy;
  std::map<std::string, seat> seats; ///< By lane id; only lanes believed alive.
  caf::actor answer_to;
  static inline const char* name = "conductor";
};

caf::behavior conductor(caf::stateful_actor<conductor_state>* self, conductor_options options);

} // namespace viva::actors
