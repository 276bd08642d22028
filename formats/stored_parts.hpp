#pragma once

// Reading encoded weights back: the tensors of one file by name, which of them belong to a weight,
// and the check that each plane has exactly the bytes its method gives it. One reader for each
// layout.

#include "formats/encoded.hpp"
#include "formats/note.hpp"

#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace viva::formats {

/// One file's tensors, and what has been recognised among them.
struct file_parts {
  explicit file_parts(const checkpoint_file& of, std::uint32_t number);

  const checkpoint_file& file;
  std::uint32_t index; ///< Of the file in its checkpoint.
  weight_notes notes;  ///< What the file says of its weights, where it says anything.
  std::unordered_map<std::string_view, const tensor_entry*> by_name;
  std::unordered_set<std::string_view> claimed; ///< Names that are a part of an encoded weight.
  std::unordered_set<std::string> weights;      ///< Names of the encoded weights found.
  std::vector<logical_tensor> found;

  const tensor_entry* find(const std::string& name) const;
  /// "'FILE': tensor 'NAME': ", the beginning of an error's text.
  std::string at(std::string_view name) const;
};

/// One tensor that a weight needs. `dtype` is empty where any will do.
struct part {
  std::string name;
  std::string_view dtype;
};

/// Claims the parts of a weight and appends it to `found`. `planes` are in the recipe's order;
/// `sides` must be there and belong to the weight. Refuses missing parts, other dtypes and wrong
/// lengths.
expected<void> claim(file_parts&, logical_tensor weight, std::span<const part> planes,
                     std::span<const part> sides);

/// Weights with a bitsandbytes quant_state beside them.
expected<void> claim_bitsandbytes(file_parts&);

/// I8 weights of bitsandbytes with an SCB beside them.
expected<void> claim_llm_int8(file_parts&);

/// I8 weights with a weight_scale beside them.
expected<void> claim_compressed_tensors(file_parts&);

/// I32 `qweight` with `qzeros` and `scales` beside it; the note says with which options.
expected<void> claim_awq(file_parts&);

/// Weights whose codes are packed in I32, with a weight_shape beside them.
expected<void> claim_pack_quantized(file_parts&);

/// Weights of the note that no engine's sign showed.
expected<void> claim_noted(file_parts&);

} // namespace viva::formats
