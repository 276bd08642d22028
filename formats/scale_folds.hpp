#pragma once

// Where the scales of a weight's columns can be folded: into what alone feeds it, so that the model
// as a whole computes what it did. A weight's columns are multiplied, what feeds them is divided:
//
//   divided                       columns multiplied
//   input_layernorm               q_proj, k_proj, v_proj
//   post_attention_layernorm      gate_proj, up_proj    (Gemma 2 and 3: pre_feedforward_layernorm)
//   v_proj, its rows              o_proj, where heads and key-value heads are as many
//   up_proj, its rows             down_proj
//
// Source    AutoAWQ 88e4c76, models/*.py get_layers_for_scaling (formats.md 4.2). Only models whose
//           config.json names a type of the table in scale_folds.cpp: in others a norm may feed
//           more (routers, parallel layers), which names alone do not tell.

#include "formats/checkpoint.hpp"
#include "formats/layout.hpp"

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace viva::formats {

/// One set of scales: what is multiplied by it, and what is divided.
struct scale_fold {
  std::vector<tensor_ref> weights; ///< (rows, columns); all have these columns.
  tensor_ref divided;              ///< A norm's weight (columns), or a Linear's (columns, any).
  std::optional<tensor_ref> bias;  ///< Of what is divided.
  float plus = 0;                  ///< The norm multiplies by its weight and this.
  std::uint64_t columns = 0;
};

struct scale_folds {
  std::vector<scale_fold> folds;               ///< By layer, in the order of the choices.
  std::map<tensor_ref, std::string> unscaled;  ///< Choices that no fold multiplies, and why.
};

/// The folds among `choices`, which are those whose columns may be scaled, all of them.
expected<scale_folds> find_scale_folds(const checkpoint&, std::span<const choice>);

} // namespace viva::formats
