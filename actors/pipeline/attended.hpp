#pragma once

// Attention as a pipeline takes it and what comes of it.

#include "kernels/attention.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace viva {

/// Queries, keys and values where they lie, in the caller's memory.
struct attention_view {
  kernels::attention::shape of;
  kernels::attention::inputs in;
};

/// Packed (batch, heads, queries, head_size) of the type of q, and (batch, heads, queries).
struct attended {
  kernels::dtype type = kernels::dtype::f32;
  std::vector<std::byte> out;
  std::vector<float> lse;
  std::uint32_t key_ranges = 1; ///< Into which the keys were cut.
};

} // namespace viva
