// Layout bitsandbytes: NF4 as transformers and vLLM load it (formats.md 3.4, 3.6). Blocks are
// counted in flat order; all keys of a weight lie in one file.
//
//   X.weight                                U8  (ceil(values / 2), 1)     plane codes
//   X.weight.absmax                         F32, nf4-dq: U8 (blocks)      plane absmax
//   X.weight.quant_map                      F32 (16)
//   X.weight.nested_absmax        nf4-dq    F32 (ceil(blocks / 256))      plane nested_absmax
//   X.weight.nested_quant_map     nf4-dq    F32 (256)
//   X.weight.quant_state.bitsandbytes__nf4  U8  (bytes)                   JSON
//
// and LLM.int8 (formats.md 3.5):
//
//   X.weight         I8  (rows, cols)   plane codes
//   X.SCB            F32 (rows)         plane scb
//   X.weight_format  U8  ()             0, which says that rows lie one after the other
//
// The JSON of nf4-dq holds the mean of the scales, known only after the survey. Its length is fixed
// in advance by spaces at the end, which Python's json.loads skips.

#include "formats/dtype_names.hpp"
#include "formats/layout_rules.hpp"
#include "formats/module_names.hpp"
#include "formats/shown.hpp"
#include "kernels/nf4.hpp"
#include "kernels/nf4_dq.hpp"

#include <algorithm>
#include <charconv>
#include <string>

namespace viva::formats::bitsandbytes {

namespace {

/// Characters of the longest repr of an f32 widened to double: sign, point, 17 digits, e-45.
constexpr std::size_t repr_chars_max = 24;

bool is_nested(const kernels::recipe& with) {
  return with.row->name == "nf4-dq";
}

bool is_llm_int8(const kernels::recipe& with) {
  return with.row->name == "llm-int8";
}

std::vector<out_tensor> llm_int8_tensors(const encoded_weight& weight) {
  std::vector<out_tensor> all = {
      weight.plane("", "I8", {weight.rows, weight.cols}, 0),
      weight.plane("", "F32", {weight.rows}, 1),
      weight.constant("_format", "U8", {}, std::string(1, '\0')),
  };
  all[1].entry.name = std::string(module_of(weight.entry.name)) + ".SCB";
  return all;
}

/// repr(float) of Python: the shortest digits that read back, positional for exponents in [-4, 16).
std::string python_repr(double value) {
  char text[40];
  const auto end =
      std::to_chars(text, text + sizeof text, value, std::chars_format::scientific).ptr;
  const std::string_view scientific(text, static_cast<std::size_t>(end - text));
  const auto e = scientific.find('e');
  int exponent = 0;
  const auto* digits = scientific.data() + e + (scientific[e + 1] == '+' ? 2 : 1);
  std::from_chars(digits, end, exponent);
  if (exponent < -4 || exponent >= 16)
    return std::string(scientific); // to_chars writes two exponent digits at least, as Python does
  const auto fixed = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed).ptr;
  std::string positional(text, fixed);
  return positional.find('.') == std::string::npos ? positional + ".0" : positional;
}

template <std::size_t Count>
std::string bytes_of(const std::array<float, Count>& values) {
  return {reinterpret_cast<const char*>(values.data()), sizeof values};
}

} // namespace

std::string quant_map_bytes() {
  return bytes_of(kernels::nf4::levels);
}

std::string nested_quant_map_bytes() {
  return bytes_of(kernels::nf4_dq::dynamic_map());
}

std::string quant_state(const kernels::recipe& with, const std::vector<std::uint64_t>& shape,
                        const float* offset) {
  std::string text = "{\"quant_type\": \"nf4\", \"blocksize\": " + std::to_string(with.block);
  text.append(", \"dtype\": \"").append(torch_name(with.source)).append("\", \"shape\": [");
  for (const char* comma = ""; const auto extent : shape) {
    text.append(comma).append(std::to_string(extent));
    comma = ", ";
  }
  text += "]";
  if (offset != nullptr)
    text.append(", \"nested_blocksize\": ")
        .append(std::to_string(kernels::nf4_dq::nested_blocks))
        .append(", \"nested_dtype\": \"float32\", \"nested_offset\": ")
        .append(python_repr(double{*offset}));
  return text + "}";
}

std::vector<out_tensor> tensors(const encoded_weight& weight) {
  if (is_llm_int8(weight.with))
    return llm_int8_tensors(weight);
  const auto blocks = (weight.rows * weight.cols + weight.with.block - 1) / weight.with.block;
  const bool nested = is_nested(weight.with);
  std::vector<out_tensor> all = {
      weight.plane("", "U8", {weight.plane_bytes(0), 1}, 0),
      weight.plane(".absmax", nested ? "U8" : "F32", {blocks}, 1),
      weight.constant(".quant_map", "F32", {kernels::nf4::levels.size()}, quant_map_bytes()),
  };
  const float zero = 0; // its repr "0.0" is 3 characters
  auto state = quant_state(weight.with, weight.entry.shape, nested ? &zero : nullptr);
  if (nested)
    state.append(repr_chars_max - 3, ' ');
  all.push_back(weight.constant(".quant_state.bitsandbytes__nf4", "U8", {state.size()},
                                nested ? std::string{} : state));
  if (!nested)
    return all;
  all.back().what = out_tensor::kind::numbers;
  all.push_back(weight.plane(".nested_absmax", "F32", {weight.plane_bytes(2) / 4}, 2));
  all.push_back(weight.constant(".nested_quant_map", "F32", {kernels::nf4_dq::dynamic_map().size()},
                                nested_quant_map_bytes()));
  return all;
}

expected<nlohmann::ordered_json> config(const checkpoint& c, std::span<const choice> choices,
                                        const std::vector<std::string>& kept) {
  const auto& first = choices.front();
  const bool eight = is_llm_int8(first.recipe);
  for (const auto& each : choices)
    if (is_llm_int8(each.recipe) != eight)
      return fail(errc::unsupported, shown(c.files[each.source.file].path)
                                         + ": one output of layout bitsandbytes holds either "
                                         + first.recipe.name() + " or " + each.recipe.name()
                                         + ". Change --rule");
  const bool nested =
      std::ranges::any_of(choices, [](const choice& each) { return is_nested(each.recipe); });
  return nlohmann::ordered_json{
      {"_load_in_4bit", !eight},
      {"_load_in_8bit", eight},
      {"bnb_4bit_compute_dtype", eight ? "float32" : torch_name(first.recipe.source)},
      {"bnb_4bit_quant_storage", "uint8"},
      {"bnb_4bit_quant_type", eight ? "fp4" : "nf4"}, // what transformers writes for 8 bits
      {"bnb_4bit_use_double_quant", nested},
      {"llm_int8_enable_fp32_cpu_offload", false},
      {"llm_int8_has_fp16_weight", false},
      {"llm_int8_skip_modules", kept},
      {"llm_int8_threshold", 6.0},
      {"load_in_4bit", !eight},
      {"load_in_8bit", eight},
      {"quant_method", "bitsandbytes"}};
}

} // namespace viva::formats::bitsandbytes

namespace viva::formats {

std::string numbers_text(const out_tensor& tensor, const kernels::recipe& with,
                         const tensor_entry& source, const kernels::tensor_numbers& numbers) {
  auto text = bitsandbytes::quant_state(with, source.shape, &numbers.values[0]);
  text.resize(tensor.entry.bytes(), ' ');
  return text;
}

} // namespace viva::formats
