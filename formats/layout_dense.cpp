// Layout dense: a weight keeps its name, type and shape, its values changed in place. A file like
// any other: nothing in config.json and no note, so whatever reads the source reads this, too.

#include "formats/dtype_names.hpp"
#include "formats/layout_rules.hpp"

namespace viva::formats::dense {

std::vector<out_tensor> tensors(const encoded_weight& weight) {
  return {weight.plane("", header_name(weight.with.source), {weight.rows, weight.cols}, 0)};
}

expected<nlohmann::ordered_json> config(const checkpoint&, std::span<const choice>,
                                        const std::vector<std::string>&) {
  return nullptr;
}

} // namespace viva::formats::dense
