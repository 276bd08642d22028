// The small files that a layout edits or writes: config.json and the index.

#include "formats/json.hpp"
#include "formats/layout_rules.hpp"
#include "formats/module_names.hpp"
#include "formats/shown.hpp"

#include <algorithm>
#include <array>
#include <set>

namespace viva::formats {

namespace {

/// Names of the Linear modules that no choice takes, and lm_head, which may share the embedding's
/// weight and so have no tensor of its own.
std::vector<std::string> kept_modules(const checkpoint& c, std::span<const choice> choices) {
  std::set<tensor_ref> taken;
  for (const auto& each : choices)
    taken.insert(each.source);
  std::set<std::string> kept = {"lm_head"};
  for (std::uint32_t f = 0; f < c.files.size(); ++f)
    for (std::uint32_t t = 0; t < c.files[f].header.tensors.size(); ++t) {
      const auto& entry = c.files[f].header.tensors[t];
      if (is_linear(entry) && !taken.contains({f, t}))
        kept.emplace(module_of(entry.name));
    }
  return {kept.begin(), kept.end()};
}

/// Models whose attention and MLP are Conv1D modules: weights lie (in, out), and engines quantize
/// the transpose.
constexpr std::array<std::string_view, 3> conv1d_models = {"gpt2", "openai-gpt", "imagegpt"};
constexpr std::array<std::string_view, 4> conv1d_modules = {"c_attn", "c_proj", "c_fc", "q_attn"};

/// The first choice that is the weight of a Conv1D; null where none is.
const tensor_entry* find_conv1d(const checkpoint& c, const nlohmann::ordered_json& config,
                                std::span<const choice> choices) {
  const auto type = config.find("model_type");
  if (type == config.end() || !type->is_string()
      || std::ranges::find(conv1d_models, type->get_ref<const std::string&>())
             == conv1d_models.end())
    return nullptr;
  for (const auto& each : choices) {
    const auto& entry = c.files[each.source.file].header.tensors[each.source.tensor];
    const auto module = module_of(entry.name);
    if (std::ranges::find(conv1d_modules, module.substr(module.rfind('.') + 1))
        != conv1d_modules.end())
      return &entry;
  }
  return nullptr;
}

} // namespace

expected<std::string> edited_config(const checkpoint& c, const layout_rules& rules,
                                    std::span<const choice> choices) {
  const auto path = c.root / "config.json";
  auto config = parse_object<nlohmann::ordered_json>(c.config, path);
  if (!config)
    return tl::unexpected(config.error());
  if (const auto found = config->find("quantization_config");
      found != config->end() && !found->is_null())
    return fail(errc::unsupported, shown(path)
                                       + ": has a quantization_config, so the model is "
                                         "quantized already; dequantize it first");
  if (rules.for_engines)
    if (const auto* conv1d = find_conv1d(c, *config, choices); conv1d != nullptr)
      return fail(errc::unsupported, shown(path) + ": tensor " + shown(conv1d->name)
                                         + ": is a Conv1D's, stored transposed, which layout "
                                         + std::string(rules.name)
                                         + " cannot hold; use a method of layout safetensors");
  auto value = rules.config(c, choices, kept_modules(c, choices));
  if (!value)
    return tl::unexpected(value.error());
  if (!value->is_null())
    (*config)["quantization_config"] = std::move(*value);
  if (!rules.torch_dtype.empty())
    for (const char* key : {"torch_dtype", "dtype"}) // the latter since transformers 4.56
      if (key == std::string_view("torch_dtype") || config->contains(key))
        (*config)[key] = rules.torch_dtype;
  return text_of(*config, 2) + "\n";
}

std::string index_text(std::span<const out_file> files) {
  std::uint64_t total = 0;
  auto map = nlohmann::json::object(); // sorted by key, as transformers writes it
  for (const auto& file : files)
    for (const auto& tensor : file.tensors) {
      map[tensor.entry.name] = file.name;
      total += tensor.entry.bytes();
    }
  return text_of(nlohmann::json{{"metadata", {{"total_size", total}}}, {"weight_map", map}}, 2)
         + "\n";
}

} // namespace viva::formats
