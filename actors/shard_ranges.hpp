#pragma once

// Shard ranges: which bytes of the sources a shard reads, and which of the outputs it writes. What
// a node must be brought before it can run one, and what must be fetched from it after.

#include "actors/byte_range.hpp"
#include "actors/plan.hpp"
#include "actors/strips.hpp"

#include <utility>
#include <vector>

namespace viva::actors {

/// Of `plan::sources`, merged. A superset is harmless, a byte too few shows as another output.
std::vector<byte_range> source_ranges(const plan&, const shard&);

/// Of `plan::output.files`, merged; none for a shard that only finds something out.
std::vector<byte_range> output_ranges(const plan&, const shard&);

/// Where the output bytes of a shard lie, in the order of its checksum: strips of each plane.
std::vector<std::pair<placement, strips>> output_strips(const work_tensor&, const shard&);

/// Size of an element of plane `i` where it is transposed, or 0.
inline std::uint32_t element_of(const std::vector<std::uint32_t>& transposed, std::size_t i) {
  return i < transposed.size() ? transposed[i] : 0;
}

} // namespace viva::actors
