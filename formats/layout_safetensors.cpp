// Layout safetensors: an encoded weight keeps its name and becomes U8 (rows, bytes of a row);
// further planes stand beside it as NAME.PLANE. What it is stands in the note. For methods that no
// engine loads from safetensors: GGUF's, and our own.

#include "formats/layout_rules.hpp"

namespace viva::formats::plain_safetensors {

std::string plane_ending(const kernels::geometry& shape, std::size_t plane) {
  return plane == 0 ? std::string{} : "." + std::string(shape.planes[plane].name);
}

std::vector<out_tensor> tensors(const encoded_weight& weight) {
  std::vector<out_tensor> all;
  for (std::uint32_t p = 0; p < weight.shape.planes_count; ++p) {
    const auto bytes = weight.plane_bytes(p);
    const bool by_row = weight.rows != 0 && bytes % weight.rows == 0
                        && weight.shape.planes[p].unit != kernels::plane::unit_kind::tensor;
    all.push_back(weight.plane(
        plane_ending(weight.shape, p), "U8",
        by_row ? std::vector{weight.rows, bytes / weight.rows} : std::vector{bytes}, p));
  }
  return all;
}

expected<nlohmann::ordered_json> config(const checkpoint&, std::span<const choice>,
                                        const std::vector<std::string>&) {
  return nullptr;
}

} // namespace viva::formats::plain_safetensors
