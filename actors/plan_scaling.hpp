#pragma once

// The part of plan_quantize that scales columns: which weights, by what is known of their inputs,
// and the shards of the search.

#include "actors/plan.hpp"
#include "formats/scale_folds.hpp"

#include <memory>
#include <span>
#include <vector>

namespace viva::actors {

using channel_statistics = std::shared_ptr<const formats::channel_statistics>;

/// A choice with what is known of its inputs; null where nothing is.
struct weighed_choice {
  formats::choice what;
  channel_statistics inputs;
};

/// The folds among choices whose method scales columns and whose inputs were measured; why each
/// other such choice is only clipped.
expected<formats::scale_folds> find_folds(const formats::checkpoint&,
                                          std::span<const weighed_choice>);

/// Which tensor of the plan each tensor of the source is.
using tensor_places = std::map<formats::tensor_ref, std::uint32_t>;

/// Adds scalings, and the shards of search, encode and fold in an order that reads a layer's
/// weights while they lie in memory. Every tensor of the folds must be in `places`.
void add_scalings(plan&, const formats::scale_folds&, std::span<const weighed_choice>,
                  const tensor_places&, std::uint64_t shard_bytes_max);

/// Encode shards of one tensor.
void add_encode_shards(plan&, std::uint32_t tensor, std::uint64_t shard_bytes_max);

} // namespace viva::actors
