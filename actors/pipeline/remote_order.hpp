#pragma once

// Remote order: what a unit asks of a lane process, and the memory that it names.

#include "actors/pipeline/shared_bytes.hpp"
#include "actors/pipeline/tensor_frames.hpp"

#include <memory>
#include <vector>

namespace viva::actors {

struct remote_order {
  tensor_order order;
  std::vector<std::shared_ptr<shared_region>> regions; ///< All that it names.
};

/// A view in memory that lane processes see: where it lies, or a copy. Errors: over_budget.
struct brought_view {
  shared_table::place at;
  tensor_view view;
};
expected<brought_view> bring_over(shared_table&, const tensor_view&);
/// What its copy takes; 0 where none is needed.
std::uint64_t bring_over_bytes(const shared_table&, const tensor_view&);

} // namespace viva::actors
