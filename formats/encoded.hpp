#pragma once

// Reading back: the tensors of a checkpoint as a person thinks of them, encoded or plain, whichever
// layout they were written in (ours or another tool's, by the engines' own signs).

#include "formats/checkpoint.hpp"
#include "formats/layout.hpp"
#include "formats/scale_note.hpp"
#include "kernels/registry.hpp"

#include <optional>
#include <string>
#include <vector>

namespace viva::formats {

struct logical_tensor {
  std::string name;                 ///< Of the weight, as the source model had it.
  std::vector<std::uint64_t> shape; ///< Of the weight, not of its planes.
  std::uint32_t file = 0;
  /// Plain tensors: the header's dtype and range. Encoded ones: the original type's name.
  std::string dtype;
  std::uint64_t begin = 0, end = 0;      ///< Plain tensors only, absolute.
  std::optional<kernels::recipe> recipe; ///< Set where the tensor is encoded.
  kernels::tensor_numbers numbers;
  std::vector<std::uint64_t> planes; ///< Absolute file offset of each plane of the recipe.
  /// As in `out_tensor`, for each plane; empty where none is transposed.
  std::vector<std::uint32_t> transposed;
  std::string layout;                ///< Layout it was found in.
  std::uint64_t stored_bytes = 0;    ///< Every plane and side tensor.
  tensor_scales scales;              ///< What it was scaled by, to be undone.
};

/// All tensors, sorted by name. Refuses planes that are missing or do not fit their weight.
expected<std::vector<logical_tensor>> read_logical(const checkpoint&);

} // namespace viva::formats
