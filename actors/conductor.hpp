#pragma once

// Conductor: runs one job, then leaves.
//
//   hears    run_job               -> job_outcome to the one named in it, exactly once
//            child_up, child_down  from the lane supervisor: seats come and go
//            batch_receipt         from lanes
//            stop_job              no more tickets; what is durable stays so
//   asks     lanes: batch; journal: commit, publish
//   ends     with the outcome
//   child    temporary, of the job supervisor: its loss fails its own job, no other
//
// The conductor retries work and restarts nobody; supervisors restart actors and retry nothing.

#include "actors/messages.hpp"

#include <caf/stateful_actor.hpp>

#include <chrono>
#include <map>
#include <string>
#include <vector>

namespace viva::actors {

struct conductor_options {
  site_ptr site;
  std::vector<done_record> resumed; ///< Durable shards of an earlier run, checksums verified.
  std::uint32_t attempts_max = 3;   ///< Runs of one shard before the job fails.
  std::uint32_t credit_per_lane = 2; ///< Batches: one running, one waiting at its door.
  std::uint64_t batch_bytes_max = 256 << 10; ///< Of source; a larger shard travels alone.
  std::chrono::milliseconds commit_every{250};
  caf::actor journal, lanes;         ///< The latter a supervisor; its children are the lanes.
};

/// What the survey of one group has brought so far.
struct group_state {
  kernels::survey seen;
  std::uint32_t shards_left = 0;
  std::vector<std::uint32_t> held; ///< Shards that wait for its numbers.
};

/// What the measured shards of one tensor have brought so far; folded when the last is home.
struct measured_state {
  kernels::error_sums sums;
  std::uint32_t shards_left = 0;
};

struct conductor_state {
  struct batch_out {
    std::uint64_t number = 0;
    std::vector<ticket> tickets;
  };
  struct seat {
    caf::actor lane;
    lane_mark mark;
    std::vector<batch_out> in_flight;
  };
  conductor_options options;
  ledger book{0, 1};
  std::map<std::string, seat> seats; ///< By lane id; only lanes believed alive.
  std::vector<group_state> groups;
  scale_search scales;
  std::vector<measured_state> measured; ///< By tensor.
  std::vector<kernels::tensor_numbers> numbers; ///< By tensor.
  std::vector<done_record> uncommitted;
  bool commit_out = false, running = false, stopping = false;
  std::uint32_t shards_home = 0; ///< Of this run, not those resumed.
  std::uint32_t problem_shard = ~0u; ///< The lowest shard with a problem speaks for the job.
  job_outcome outcome;
  caf::actor answer_to;
  static inline const char* name = "conductor";
};

caf::behavior conductor(caf::stateful_actor<conductor_state>* self, conductor_options options);

} // namespace viva::actors
