#pragma once

// What a tensor's name says about its module; `quantizable` (layout.hpp) is built on it.
//
// A weight is `MODULE.weight`; the module's name is a path of parts between dots. By these it is
//   table    a part has "embed", "position" or "token_type" in it, or is wte, wpe, emb, shared or
//            relative_attention_bias
//   norm     the last part has "norm" in it, or is ln, or begins ln_
//   router   the last part is gate, router, gate_inp or shared_expert_gate (gate_proj is none)
//   head     a part is lm_head, head, score, classifier, qa_outputs or cls, or the module is
//            output
//   linear   none of these: the engines' Linear layers, a BERT pooler among them
// Case does not count.

#include "formats/safetensors.hpp"

#include <cstdint>
#include <string_view>

namespace viva::formats {

enum class module_kind : std::uint8_t { table, norm, router, head, linear };

/// "a.b" of "a.b.weight"; empty where the name is no weight's.
std::string_view module_of(std::string_view tensor_name) noexcept;

module_kind kind_of(std::string_view module) noexcept;

/// True where the tensor is the weight of what torch calls a Linear, encoded or not: a 2-D
/// floating-point `*.weight` of kind router, head or linear.
bool is_linear(const tensor_entry&) noexcept;

} // namespace viva::formats
