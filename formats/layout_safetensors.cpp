// Layout safetensors: an encoded weight keeps its name and becomes U8 (rows, bytes of a row); what
// it is stands in the note. For methods of one plane whose blocks stay within a row: GGUF's.

#include "formats/layout_rules.hpp"

namespace viva::formats::plain_safetensors {

std::vector<out_tensor> tensors(const encoded_weight& weight) {
  const auto row_bytes = weight.rows == 0 ? 0 : weight.plane_bytes(0) / weight.rows;
  return {weight.plane("", "U8", {weight.rows, row_bytes}, 0)};
}

nlohmann::ordered_json config(std::span<const choice>, const std::vector<std::string>&) {
  return nullptr;
}

} // namespace viva::formats::plain_safetensors
