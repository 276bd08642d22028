// Layout compressed-tensors, vLLM's own (formats.md 5). Each method of ours is one of its schemes:
// how the tensors of a weight are called and typed, and what config.json says of weights and
// activations.
//
//   int-quantized, W8A8, activations quantized per token at run time (formats.md 5.2, 5.5)
//     X.weight        I8 (rows, cols)           plane codes
//     X.weight_scale  source's type (rows, 1)   plane scales; int8-tensor: (1), plane scale
//
//   pack-quantized, W4A16 and W8A16, activations as they are
//     X.weight_packed      I32 (rows, cols bits / 32)           plane codes
//     X.weight_scale       source's type (rows, cols / group)   plane scales
//     X.weight_shape       I64 (2)                              rows, cols
//     X.weight_zero_point  I32 (ceil(rows / 8), cols / group)   plane zeros, int4:asym
//
//   float-quantized, FP8, activations quantized per token, or per 128 beside blocks
//     X.weight        F8_E4M3 (rows, cols)      plane codes
//     X.weight_scale  source's type (rows, 1), fp8-tensor: (1),
//                     fp8-block: (ceil(rows / 128), ceil(cols / 128))   plane scales
//
//   nvfp4-pack-quantized and mxfp4-pack-quantized, activations as they are (formats.md 5.3, 5.4)
//     X.weight_packed        U8 (rows, cols / 2)                          plane codes
//     X.weight_scale         nvfp4: F8_E4M3 (rows, cols / 16), mxfp4: U8 (rows, cols / 32)
//     X.weight_global_scale  nvfp4: F32 (1), a divisor                    plane global_scale

#include "formats/dtype_names.hpp"
#include "formats/layout_rules.hpp"
#include "formats/module_names.hpp"
#include "formats/shown.hpp"
#include "kernels/fp8.hpp"
#include "kernels/mxfp4.hpp"
#include "kernels/nvfp4.hpp"
#include "kernels/int4.hpp"

#include <algorithm>
#include <array>
#include <map>

namespace viva::formats::compressed_tensors {

namespace {

using json = nlohmann::ordered_json;

/// How one method of ours stands in this layout.
struct scheme {
  std::string_view method; ///< Name of the registry's row.
  std::string_view format; ///< Of the checkpoint, in its config.json.
  std::vector<out_tensor> (*tensors)(const encoded_weight&);
  json (*weights)(const kernels::recipe&); ///< Its quantization arguments.
  json (*inputs)(const kernels::recipe&); ///< Of the activations; null where they stay as they are.
};

json arguments(int bits, std::string_view type, std::string_view strategy, bool dynamic) {
  return {{"num_bits", bits},
          {"type", type},
          {"symmetric", true},
          {"strategy", strategy},
          {"dynamic", dynamic}};
}

std::vector<out_tensor> int8_tensors(const encoded_weight& weight) {
  return {weight.plane("", "I8", {weight.rows, weight.cols}, 0),
          weight.plane("_scale", header_name(weight.with.source), {weight.rows, 1}, 1)};
}

json int8_weights(const kernels::recipe&) {
  return arguments(8, "int", "channel", false);
}

json int8_inputs(const kernels::recipe&) {
  return arguments(8, "int", "token", true);
}

std::vector<out_tensor> fp8_tensors(const encoded_weight& weight,
                                    std::vector<std::uint64_t> scales) {
  return {weight.plane("", "F8_E4M3", {weight.rows, weight.cols}, 0),
          weight.plane("_scale", header_name(weight.with.source), std::move(scales), 1)};
}

std::vector<out_tensor> fp8_row_tensors(const encoded_weight& weight) {
  return fp8_tensors(weight, {weight.rows, 1});
}

std::vector<out_tensor> fp8_tensor_tensors(const encoded_weight& weight) {
  return fp8_tensors(weight, {1});
}

std::vector<out_tensor> fp8_block_tensors(const encoded_weight& weight) {
  constexpr auto side = kernels::fp8::block_side;
  return fp8_tensors(weight, {(weight.rows + side - 1) / side, (weight.cols + side - 1) / side});
}

json fp8_row_weights(const kernels::recipe&) {
  return arguments(8, "float", "channel", false);
}

json fp8_tensor_weights(const kernels::recipe&) {
  return arguments(8, "float", "tensor", false);
}

json fp8_block_weights(const kernels::recipe&) {
  constexpr auto side = kernels::fp8::block_side;
  auto all = arguments(8, "float", "block", false);
  all["block_structure"] = {side, side};
  return all;
}

json fp8_inputs(const kernels::recipe&) {
  return arguments(8, "float", "token", true);
}

json fp8_block_inputs(const kernels::recipe&) {
  auto all = arguments(8, "float", "group", true);
  all["group_size"] = kernels::fp8::block_side;
  return all;
}

std::vector<out_tensor> nvfp4_tensors(const encoded_weight& weight) {
  constexpr auto block = kernels::nvfp4::block_values;
  return {weight.plane("_packed", "U8", {weight.rows, weight.cols / 2}, 0),
          weight.plane("_scale", "F8_E4M3", {weight.rows, weight.cols / block}, 1),
          weight.plane("_global_scale", "F32", {1}, 2)};
}

json nvfp4_weights(const kernels::recipe&) {
  auto all = arguments(4, "float", "tensor_group", false);
  all["group_size"] = kernels::nvfp4::block_values;
  return all;
}

std::vector<out_tensor> mxfp4_tensors(const encoded_weight& weight) {
  constexpr auto block = kernels::mxfp4::block_values;
  return {weight.plane("_packed", "U8", {weight.rows, weight.cols / 2}, 0),
          weight.plane("_scale", "U8", {weight.rows, weight.cols / block}, 1)};
}

json mxfp4_weights(const kernels::recipe&) {
  auto all = arguments(4, "float", "group", false);
  all["group_size"] = kernels::mxfp4::block_values;
  all["scale_dtype"] = "torch.uint8"; // by which engines tell MXFP4 from other groups of floats
  return all;
}

std::vector<out_tensor> int8_tensor_tensors(const encoded_weight& weight) {
  return {weight.plane("", "I8", {weight.rows, weight.cols}, 0),
          weight.plane("_scale", header_name(weight.with.source), {1}, 1)};
}

json int8_tensor_weights(const kernels::recipe&) {
  return arguments(8, "int", "tensor", false);
}

template <std::uint64_t Bits>
std::vector<out_tensor> packed_tensors(const encoded_weight& weight) {
  const auto groups = weight.cols / weight.with.block;
  const std::uint64_t shape[] = {weight.rows, weight.cols};
  std::vector<out_tensor> all = {
      weight.plane("_packed", "I32", {weight.rows, weight.cols * Bits / 32}, 0),
      weight.plane("_scale", header_name(weight.with.source), {weight.rows, groups}, 1),
      weight.constant("_shape", "I64", {2}, {reinterpret_cast<const char*>(shape), sizeof shape}),
  };
  if (weight.shape.planes_count == 3)
    all.push_back(weight.plane("_zero_point", "I32", {(weight.rows + 7) / 8, groups}, 2));
  return all;
}

template <int Bits>
json packed_weights(const kernels::recipe& with) {
  auto all = arguments(Bits, "int", "group", false);
  all["group_size"] = with.block;
  all["symmetric"] = Bits == 8 || (with.flags & kernels::int4::asym) == 0;
  return all;
}

json no_inputs(const kernels::recipe&) {
  return nullptr;
}

constexpr std::string_view fp8_format = "float-quantized";
constexpr std::string_view nvfp4_format = "nvfp4-pack-quantized";

constexpr std::array schemes = {
    scheme{"int8", "int-quantized", int8_tensors, int8_weights, int8_inputs},
    scheme{"fp8", fp8_format, fp8_row_tensors, fp8_row_weights, fp8_inputs},
    scheme{"fp8-tensor", fp8_format, fp8_tensor_tensors, fp8_tensor_weights, fp8_inputs},
    scheme{"fp8-block", fp8_format, fp8_block_tensors, fp8_block_weights, fp8_block_inputs},
    scheme{"nvfp4", nvfp4_format, nvfp4_tensors, nvfp4_weights, no_inputs},
    scheme{"nvfp4-four-or-six", nvfp4_format, nvfp4_tensors, nvfp4_weights, no_inputs},
    scheme{"mxfp4", "mxfp4-pack-quantized", mxfp4_tensors, mxfp4_weights, no_inputs},
    scheme{"int8-tensor", "int-quantized", int8_tensor_tensors, int8_tensor_weights, int8_inputs},
    scheme{"int8-group", "pack-quantized", packed_tensors<8>, packed_weights<8>, no_inputs},
    scheme{"int4", "pack-quantized", packed_tensors<4>, packed_weights<4>, no_inputs},
};

const scheme& scheme_of(const kernels::recipe& with) {
  const auto* found = std::ranges::find(schemes, with.row->name, &scheme::method);
  return found == schemes.end() ? schemes.front() : *found; // rows of the registry name a layout
} // only where a scheme is here

/// The modules that share a recipe.
struct group {
  const kernels::recipe* with = nullptr;
  json targets = json::array();
};

json group_json(const group& each) {
  const auto& how = scheme_of(*each.with);
  return {{"targets", each.targets},
          {"weights", how.weights(*each.with)},
          {"input_activations", how.inputs(*each.with)},
          {"output_activations", nullptr}};
}

} // namespace

std::vector<out_tensor> tensors(const encoded_weight& weight) {
  return scheme_of(weight.with).tensors(weight);
}

// Rows may end within a block, as in published checkpoints; activations are quantized in groups of
// columns, and engines fail on a group that is not whole when the layer first runs.
expected<void> fits(const encoded_weight& weight) {
  constexpr auto side = kernels::fp8::block_side;
  if (weight.with.row->name != "fp8-block" || weight.cols % side == 0)
    return {};
  return fail(errc::bad_shape, "has " + std::to_string(weight.cols) + " columns; engines take "
                                 "fp8-block only in multiples of " + std::to_string(side)
                                 + ". Give it method fp8 with a --rule, or leave it out with "
                                   "--exclude");
}

expected<json> config(const checkpoint& c, std::span<const choice> choices,
                      const std::vector<std::string>& kept) {
  std::map<std::string, group> groups;
  const auto& first = choices.front();
  const auto name_of = [&](const choice& each) {
    return c.files[each.source.file].header.tensors[each.source.tensor].name;
  };
  for (const auto& each : choices) {
    if (scheme_of(each.recipe).format != scheme_of(first.recipe).format)
      return fail(errc::unsupported,
                  shown(c.files[each.source.file].path) + ": tensor " + shown(name_of(each)) + ": "
                      + each.recipe.name() + " is written as "
                      + std::string(scheme_of(each.recipe).format) + ", tensor "
                      + shown(name_of(first)) + " as " + std::string(scheme_of(first.recipe).format)
                      + "; one output of layout compressed-tensors has one format. Change --rule");
    auto& its = groups[each.recipe.name()];
    its.with = &each.recipe;
    its.targets.push_back(module_of(name_of(each)));
  }
  if (groups.size() == 1)
    groups.begin()->second.targets = json::array({"Linear"});
  json config_groups;
  for (const auto& [name, each] : groups)
    config_groups["group_" + std::to_string(config_groups.size())] = group_json(each);
  // Unknown keys are fatal to older engines: no group format and no transform_config.
  return json{{"quant_method", "compressed-tensors"},
              {"version", "0.18.0"},
              {"format", scheme_of(first.recipe).format},
              {"quantization_status", "compressed"},
              {"global_compression_ratio", nullptr},
              {"kv_cache_scheme", nullptr},
              {"ignore", kept},
              {"sparsity_config", json::object()},
              {"config_groups", config_groups}};
}

} // namespace viva::formats::compressed_tensors
