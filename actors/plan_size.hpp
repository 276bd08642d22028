#pragma once

// Plan size: whether a plan fits into --max-memory, told before it is made. What the whole job
// needs is known only with the plan (`fit_memory`).

#include "actors/job.hpp"
#include "formats/checkpoint.hpp"

#include <cstdint>

namespace viva::actors {

/// Refuses a source of more tensors, or of more shards of `shard_bytes_max`, than there is memory
/// to plan: counts what the planned tensors and the bare list of shards take. An estimate of the
/// latter: a method whose rows go together in blocks may have fewer.
expected<void> fit_plan(const formats::checkpoint& source, const job_limits& limits,
                        std::uint32_t lanes);

} // namespace viva::actors
