#pragma once

// Layouts: where each plane of each tensor lies in the output's files, as the engines expect it.
//
// Everything is settled before any work: each output tensor is a copy of source bytes, one plane of
// an encoded tensor, a constant, or a text of known length that waits for the tensor's numbers.

#include "formats/checkpoint.hpp"
#include "kernels/registry.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace viva::formats {

/// A tensor of a checkpoint: which file, which entry of its header.
struct tensor_ref {
  std::uint32_t file = 0, tensor = 0;
  friend auto operator<=>(const tensor_ref&, const tensor_ref&) = default;
};

/// A tensor to encode, and how. Tensors without a choice are copied byte for byte.
struct choice {
  tensor_ref source;
  kernels::recipe recipe;
};

struct out_tensor {
  enum class kind : std::uint8_t { copy, plane, constant, numbers };
  tensor_entry entry; ///< begin and end are absolute in the output file.
  kind what = kind::copy;
  tensor_ref source;       ///< For copy, plane and numbers.
  std::uint32_t plane = 0; ///< For plane: index into the recipe's geometry.
  /// For plane: 0 where the file holds it as it is. Else the plane is a matrix of elements of so
  /// many bytes, a row for each of its units, and the file holds the transpose: a run of rows lies
  /// in strips, one in each of the file's rows.
  std::uint32_t transposed = 0;
  std::string bytes;       ///< For constant: exactly entry.bytes() long.
};

/// Digits of a fold's scales (scale_note.hpp), which stand in the header as zeros until they are
/// known.
struct late_scales {
  std::uint64_t offset = 0; ///< In the file.
  std::uint32_t fold = 0;   ///< Index into the folds.
};

struct out_file {
  std::string name;
  std::string header; ///< Bytes [0, data begin).
  std::vector<out_tensor> tensors;
  std::uint64_t bytes = 0;
  std::vector<late_scales> scales;
};

/// A small file written as text: the edited config.json, the index.
struct text_file {
  std::string name, text;
};

struct out_checkpoint {
  bool folder = false; ///< False: the output is files[0] itself.
  std::vector<out_file> files;
  std::vector<text_file> texts;
  std::vector<std::filesystem::path> copies; ///< Others of the source copied verbatim, relative.
};

/// Names of the layouts, for --help.
std::span<const std::string_view> layouts() noexcept;

/// Which layout a method goes to when nobody says: the first of its row.
std::string_view default_layout(const kernels::method&) noexcept;

/// True where an engine reads the layout, so the weights of a fused layer must be encoded alike.
bool for_engines(std::string_view layout) noexcept;

/// True where engines of these layouts quantize this tensor: a 2-D floating-point `*.weight` that
/// is no embedding, lm_head, norm or router.
bool quantizable(const tensor_entry&) noexcept;

struct scale_fold; // formats/scale_folds.hpp

/// Lays out the whole output. Refuses a method the layout cannot hold and shapes it cannot take.
/// `folds` are noted in the files that hold a part of them.
expected<out_checkpoint> lay_out(const checkpoint&, std::span<const choice>,
                                 std::string_view layout, std::string_view version,
                                 std::span<const scale_fold> folds);
expected<out_checkpoint> lay_out(const checkpoint&, std::span<const choice>,
                                 std::string_view layout, std::string_view version);

/// The index of an output's files, as transformers writes it.
std::string index_text(std::span<const out_file>);

/// The bytes of an `out_tensor` of kind `numbers`, exactly entry.bytes() long.
std::string numbers_text(const out_tensor&, const kernels::recipe&, const tensor_entry& source,
                         const kernels::tensor_numbers&);

} // namespace viva::formats
