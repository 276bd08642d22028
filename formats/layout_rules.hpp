#pragma once

// What one layout is: how it names and shapes the tensors of an encoded weight, and what it wants
// in config.json. Each layout is one file, layout_NAME.cpp, and one row of the table in layout.cpp.

#include "formats/layout.hpp"

#include <nlohmann/json.hpp>

namespace viva::formats {

/// A weight about to be laid out, with its geometry worked out.
struct encoded_weight {
  encoded_weight(const tensor_entry& of, tensor_ref ref, const kernels::recipe& recipe);

  const tensor_entry& entry; ///< Of the source, (rows, cols).
  tensor_ref source;
  const kernels::recipe& with;
  std::uint64_t rows, cols;
  kernels::geometry shape;

  std::uint64_t plane_bytes(std::uint32_t plane) const noexcept;

  /// An output tensor called NAME + `ending` that one plane fills.
  out_tensor plane(std::string_view ending, std::string_view dtype,
                   std::vector<std::uint64_t> extents, std::uint32_t plane) const;
  /// One of known bytes.
  out_tensor constant(std::string_view ending, std::string_view dtype,
                      std::vector<std::uint64_t> extents, std::string bytes) const;
};

struct layout_rules {
  std::string_view name;
  /// The output tensors of a weight.
  std::vector<out_tensor> (*tensors)(const encoded_weight&);
  /// What goes under quantization_config; null where nothing does. `kept` are the names of the
  /// Linear modules that stay as they are, sorted. Refuses choices that no engine takes together.
  expected<nlohmann::ordered_json> (*config)(const checkpoint&, std::span<const choice>,
                                             const std::vector<std::string>& kept);
  /// True where an engine reads the files, so weights must be as its module holds them.
  bool for_engines;
  /// False where weights need no note to be known for what they are.
  bool noted;
  /// What torch_dtype becomes, for engines that take no other; empty where it stays.
  std::string_view torch_dtype = {};
  /// Refuses shapes and options that the layout cannot hold; null where it holds them all. The
  /// error's text goes on where file and tensor are named.
  expected<void> (*fits)(const encoded_weight&) = nullptr;
};

namespace awq {
std::vector<out_tensor> tensors(const encoded_weight&);
expected<nlohmann::ordered_json> config(const checkpoint&, std::span<const choice>,
                                        const std::vector<std::string>& kept);
expected<void> fits(const encoded_weight&);
} // namespace awq

namespace bitsandbytes {
std::vector<out_tensor> tensors(const encoded_weight&);
expected<nlohmann::ordered_json> config(const checkpoint&, std::span<const choice>,
                                        const std::vector<std::string>& kept);
/// JSON of a quant_state as Python's json.dumps writes it; `offset` is null without double
/// quantization.
std::string quant_state(const kernels::recipe&, const std::vector<std::uint64_t>& shape,
                        const float* offset);
std::string quant_map_bytes();        ///< NF4's 16 levels, f32.
std::string nested_quant_map_bytes(); ///< The dynamic map's 256 levels, f32.
} // namespace bitsandbytes

namespace compressed_tensors {
std::vector<out_tensor> tensors(const encoded_weight&);
expected<nlohmann::ordered_json> config(const checkpoint&, std::span<const choice>,
                                        const std::vector<std::string>& kept);
expected<void> fits(const encoded_weight&);
} // namespace compressed_tensors

namespace dense {
std::vector<out_tensor> tensors(const encoded_weight&);
expected<nlohmann::ordered_json> config(const checkpoint&, std::span<const choice>,
                                        const std::vector<std::string>& kept);
} // namespace dense

namespace plain_safetensors {
/// What follows a weight's name in the name of one of its planes: nothing, or "." and the plane's.
std::string plane_ending(const kernels::geometry&, std::size_t plane);
std::vector<out_tensor> tensors(const encoded_weight&);
expected<nlohmann::ordered_json> config(const checkpoint&, std::span<const choice>,
                                        const std::vector<std::string>& kept);
} // namespace plain_safetensors

/// The edited config.json: `quantization_config` is set, everything else stays in its order.
expected<std::string> edited_config(const checkpoint&, const layout_rules&,
                                    std::span<const choice>);

} // namespace viva::formats
