#pragma once

// Receipts: what lanes are handed and what they tell, as plain values.

#include "actors/ledger.hpp"
#include "actors/scale_search.hpp"
#include "kernels/error.hpp"
#include "kernels/metrics.hpp"
#include "kernels/registry.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace viva::actors {

struct shard_task {
  ticket id;
  kernels::tensor_numbers numbers;
  searched by; ///< What a search for scales has brought, where the shard needs it.
  bool device = true; ///< A device may compute it, where the lane has one.
};

struct shard_receipt {
  ticket id;
  std::uint64_t checksum = 0;
  std::string findings; ///< shard_result::findings
  error problem;        ///< code ok where the shard is written.
  std::chrono::nanoseconds took{0}; ///< For meters.
};

/// Of a whole batch, or of its tasks up to the first that has a problem.
struct batch_receipt {
  std::string lane;
  std::uint64_t number = 0;
  std::vector<shard_receipt> shards;
};

struct job_outcome {
  error problem; ///< code ok: done and published.
  /// One for each tensor of the plan; none where nothing was measured.
  std::vector<std::optional<kernels::metrics>> errors;
  std::vector<std::string> not_finite_at;      ///< scan: flat position for each tensor, or empty.
  std::uint64_t retries = 0, shards_resumed = 0, shards_quarantined = 0;
  std::uint64_t copies = 0; ///< Shards that were late with one lane and given to another, too.
  std::uint64_t messages = 0; ///< Sent and received by the conductor, tick messages aside.
  std::uint64_t batches = 0, commits = 0;
};

} // namespace viva::actors
