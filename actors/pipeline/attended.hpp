#pragma once

// Attention as a pipeline takes it and what comes of it.

#include "actors/pipeline/tensor_id.hpp"
#include "actors/pipeline/tensor_view.hpp"
#include "kernels/attention.hpp"
#include "kernels/error.hpp"

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

/// Of queries (queries, heads * head_size), keys and values (keys, kv_heads * head_size), heads
/// beside each other in a row; the head size follows from the columns.
struct attention_options {
  std::size_t heads = 1, kv_heads = 0; ///< kv_heads 0: as many as heads.
  bool causal = false;    ///< Query i sees keys up to i + keys - queries.
  std::size_t window = 0; ///< And none further off than this; 0: all.
  float scale = 0;        ///< 0: 1 / sqrt(head_size).
};

/// One sequence of three tensors where they lie. Errors: bad_shape, which says what does not fit.
expected<attention_view> view_of(const tensor_view& q, const tensor_view& k, const tensor_view& v,
                                 const attention_options&);

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
