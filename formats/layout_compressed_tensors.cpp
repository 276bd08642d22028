// Layout compressed-tensors, format int-quantized: 8-bit weights with one scale per output channel,
// activations quantized per token at run time (W8A8; formats.md 5.2, 5.5).
//
//   X.weight        I8 (rows, cols)     plane codes
//   X.weight_scale  source's type (rows, 1)   plane scales

#include "formats/dtype_names.hpp"
#include "formats/layout_rules.hpp"

namespace viva::formats::compressed_tensors {

std::vector<out_tensor> tensors(const encoded_weight& weight) {
  return {weight.plane("", "I8", {weight.rows, weight.cols}, 0),
          weight.plane("_scale", header_name(weight.with.source), {weight.rows, 1}, 1)};
}

nlohmann::ordered_json config(std::span<const choice>, const std::vector<std::string>& kept) {
  using json = nlohmann::ordered_json;
  const auto scheme = [](std::string_view strategy, bool dynamic) {
    return json{{"num_bits", 8},
                {"type", "int"},
                {"symmetric", true},
                {"strategy", strategy},
                {"dynamic", dynamic}};
  };
  // Unknown keys are fatal to older engines: no group format and no transform_config.
  return {{"quant_method", "compressed-tensors"},
          {"version", "0.18.0"},
          {"format", "int-quantized"},
          {"quantization_status", "compressed"},
          {"global_compression_ratio", nullptr},
          {"kv_cache_scheme", nullptr},
          {"ignore", kept},
          {"sparsity_config", json::object()},
          {"config_groups",
           {{"group_0",
             {{"targets", json::array({"Linear"})},
              {"weights", scheme("channel", false)},
              {"input_activations", scheme("token", true)},
              {"output_activations", nullptr}}}}}};
}

} // namespace viva::formats::compressed_tensors
