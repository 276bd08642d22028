#pragma once

// What a lane does with one shard: read, compute, write in place, tell. A pure function of the
// source bytes, the recipe and the tensor's numbers: running it twice writes the same bytes.

#include "actors/engine.hpp"
#include "actors/plan.hpp"
#include "actors/scale_search.hpp"
#include "actors/workplace.hpp"
#include "kernels/metrics.hpp"
#include "kernels/registry.hpp"

#include <string>

namespace viva::actors {

struct shard_result {
  std::uint64_t checksum = 0; ///< Of the output bytes, as `output_checksum` computes it.
  /// encode, measure: error_sums; survey: survey; shares, losses: what scale_search takes; scan:
  /// position or empty.
  std::string findings;
};

/// `on` computes what has a device's kernel, where it is one: encode without scales that were
/// searched, decode, survey. All else is the processor's.
expected<shard_result> run_shard(const plan&, const workplace&, const shard&,
                                 const kernels::tensor_numbers&, const searched&,
                                 engine& on = processor());

/// The checksum of what stands in the output for a shard, read back from the files.
expected<std::uint64_t> output_checksum(const plan&, const workplace&, const shard&);

/// "file: tensor has NaN at [3, 17]" for a flat position in a tensor.
std::string name_not_finite(const plan&, std::uint32_t tensor, std::uint64_t position);

} // namespace viva::actors
