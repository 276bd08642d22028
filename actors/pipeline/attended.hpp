#pragma once

// Attention as a pipeline takes it and what comes of it.

#include "actors/pipeline/tensor_id.hpp"
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

/// Queries in the caller's memory, keys and values that lanes hold: resident tensors of (keys,
/// kv_heads * head_size), as they were put or quantized, both of one shape and source type.
struct resident_attention {
  kernels::attention::shape of; ///< One sequence.
  kernels::attention::source_rows q;
  tensor_id k, v;
  kernels::attention::additive_bias bias{};
};

/// Packed (batch, heads, queries, head_size) of the type of q, and (batch, heads, queries).
struct attended {
  kernels::dtype type = kernels::dtype::f32;
  std::vector<std::byte> out;
  std::vector<float> lse;
  std::uint32_t key_ranges = 1; ///< Into which the keys were cut.
};

} // namespace viva
