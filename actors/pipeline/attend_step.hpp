#pragma once

// Attend step: pieces of attention for a lane process, over q, k, v and bias in shared memory.

#include "actors/pipeline/remote_order.hpp"
#include "kernels/attention.hpp"

#include <functional>
#include <memory>

namespace viva::actors {

/// Where q, k and v of an attention lie for lane processes, copies or not, and what keeps them.
struct brought_attention {
  attend_side q, k, v;
  attend_bias bias;
  std::vector<std::shared_ptr<shared_region>> regions;
};
/// Copies what lies in no shared memory, rows packed. Keys of k and v may be left out: `of.keys` 0.
/// Errors: over_budget.
expected<brought_attention> bring_over(shared_table&, const kernels::attention::shape&,
                                       const kernels::attention::inputs&);
/// What the copies take.
std::uint64_t bring_over_bytes(const shared_table&, const kernels::attention::shape&,
                               const kernels::attention::inputs&);

/// Memory of a region that is known to the one who runs a step: for reading or for writing; null
/// where it has not so many bytes.
struct step_memory {
  std::function<const std::byte*(std::uint32_t region, std::uint64_t offset, std::uint64_t bytes)>
    read;
  std::function<std::byte*(std::uint32_t region, std::uint64_t offset, std::uint64_t bytes)> write;
};
/// Runs it; nothing where its numbers make no sense.
std::optional<status> run(const attend_step&, const step_memory&);

} // namespace viva::actors
