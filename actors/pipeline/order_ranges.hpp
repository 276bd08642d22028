#pragma once

// Order ranges: the bytes of regions that an order reads and writes, for whoever has to bring and
// fetch them. `file` of a range is the region's id.

#include "actors/byte_range.hpp"
#include "actors/pipeline/tensor_frames.hpp"

#include <vector>

namespace viva::actors {

struct touched {
  std::vector<byte_range> reads, writes;
};

/// In the order of its runs, steps and attends: one may read what one before it writes. An order
/// of ours; what makes no sense in it gives ranges that make none.
std::vector<touched> ranges_of(const tensor_order&);

} // namespace viva::actors
