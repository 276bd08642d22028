#pragma once

// Layers that engines fuse into one: q, k and v of an attention, gate and up of an MLP. Their
// weights must be encoded by one method, and share what a method asks of the whole tensor.

#include "formats/checkpoint.hpp"
#include "formats/layout.hpp"

#include <span>
#include <string>
#include <string_view>

namespace viva::formats {

/// A name that all weights of one fused layer have in common, "a.qkv" for "a.q_proj.weight"; empty
/// where the weight is fused with none.
std::string fused_layer(std::string_view tensor_name);

/// Refuses choices by which two weights of one fused layer are encoded by different methods, or one
/// of them not at all, and blocks of rows that reach from one into the next: vLLM loads no such
/// file. Names them.
expected<void> check_fused(const checkpoint&, std::span<const choice>);

} // namespace viva::formats
