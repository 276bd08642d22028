#include "formats/scale_folds.hpp"

#include "formats/dtype_names.hpp"
#include "formats/json.hpp"
#include "formats/module_names.hpp"

#include <algorithm>
#include <array>
#include <unordered_map>

namespace viva::formats {

namespace {

/// What is peculiar to a model: how its norms multiply, and which one feeds the MLP.
struct model_rules {
  std::string_view type; ///< model_type in config.json.
  float plus;            ///< A norm multiplies by its weight and this.
  std::string_view mlp_norm;
};

constexpr std::string_view usual_norm = "post_attention_layernorm";
constexpr std::array models = {
    model_rules{"llama", 0, usual_norm},
    model_rules{"mistral", 0, usual_norm},
    model_rules{"qwen2", 0, usual_norm},
    model_rules{"qwen3", 0, usual_norm},
    model_rules{"gemma", 1, usual_norm},
    model_rules{"gemma2", 1, "pre_feedforward_layernorm"},
    model_rules{"gemma3_text", 1, "pre_feedforward_layernorm"},
};

/// Modules of a layer, by their names in it.
struct fold_rule {
  std::string_view divided;
  std::array<std::string_view, 3> weights; ///< As many as are not empty.
};

std::array<fold_rule, 4> rules_of(const model_rules& model) {
  return {{{"input_layernorm", {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}},
           {model.mlp_norm, {"mlp.gate_proj", "mlp.up_proj"}},
           {"self_attn.v_proj", {"self_attn.o_proj"}},
           {"mlp.up_proj", {"mlp.down_proj"}}}};
}

/// Null where config.json names none of the table.
expected<const model_rules*> model_of(const checkpoint& c) {
  if (c.config.empty())
    return nullptr;
  const auto config = parse_object<nlohmann::json>(c.config, c.root / "config.json");
  if (!config)
    return tl::unexpected(config.error());
  const auto type = config->find("model_type");
  if (type == config->end() || !type->is_string())
    return nullptr;
  const auto* found =
      std::ranges::find(models, type->get_ref<const std::string&>(), &model_rules::type);
  return found == models.end() ? nullptr : found;
}

class finder {
public:
  finder(const checkpoint& c, std::span<const choice> choices) : x_source(c) {
    for (std::uint32_t f = 0; f < c.files.size(); ++f)
      for (std::uint32_t t = 0; t < c.files[f].header.tensors.size(); ++t)
        x_names.emplace(c.files[f].header.tensors[t].name, tensor_ref{f, t});
    for (const auto& each : choices)
      x_chosen.emplace(each.source, &each.recipe);
  }

  /// The fold of one rule in one layer ("model.layers.0."), where everything it needs is there.
  std::optional<scale_fold> fold(std::string_view layer, const fold_rule& rule,
                                 float plus) const {
    scale_fold made;
    const auto* first = chosen(layer, rule.weights[0]);
    if (first == nullptr)
      return std::nullopt;
    for (const auto name : rule.weights) {
      if (name.empty())
        continue;
      const auto* with = chosen(layer, name);
      if (with == nullptr || with->block != first->block || with->flags != first->flags)
        return std::nullopt;
      made.weights.push_back(*find(layer, name, ".weight"));
    }
    made.columns = entry(made.weights[0]).shape[1];
    for (const auto ref : made.weights)
      if (entry(ref).shape[1] != made.columns)
        return std::nullopt;
    if (!divide(made, layer, rule.divided, plus))
      return std::nullopt;
    return made;
  }

private:
  const tensor_entry& entry(tensor_ref ref) const {
    return x_source.files[ref.file].header.tensors[ref.tensor];
  }

  std::optional<tensor_ref> find(std::string_view layer, std::string_view module,
                                 std::string_view ending) const {
    const auto found = x_names.find(std::string(layer).append(module).append(ending));
    return found == x_names.end() ? std::nullopt : std::optional(found->second);
  }

  /// The recipe of a module's weight; null where it is not among the choices.
  const kernels::recipe* chosen(std::string_view layer, std::string_view module) const {
    const auto ref = find(layer, module, ".weight");
    const auto found = ref ? x_chosen.find(*ref) : x_chosen.end();
    return found == x_chosen.end() ? nullptr : found->second;
  }

  /// False where what feeds the weights is not there, or is not one number for each column.
  bool divide(scale_fold& made, std::string_view layer, std::string_view module,
              float plus) const {
    const auto divided = find(layer, module, ".weight");
    if (!divided)
      return false;
    made.divided = *divided;
    const auto& what = entry(*divided);
    const bool norm = what.shape.size() == 1;
    if (!source_type(what.dtype) || what.shape.empty() || what.shape[0] != made.columns
        || (!norm && !x_chosen.contains(*divided)))
      return false;
    made.plus = norm ? plus : 0;
    made.bias = find(layer, module, ".bias");
    return !made.bias
           || (entry(*made.bias).shape == std::vector{made.columns}
               && source_type(entry(*made.bias).dtype));
  }

  const checkpoint& x_source;
  std::unordered_map<std::string, tensor_ref> x_names;
  std::map<tensor_ref, const kernels::recipe*> x_chosen;
};

/// "model.layers.0." of "model.layers.0.mlp.up_proj.weight"; empty where no rule begins with it.
std::string_view layer_of(std::string_view tensor, const fold_rule& rule) {
  const auto module = module_of(tensor);
  const auto first = rule.weights[0];
  const bool ends = module.ends_with(first) && module.size() > first.size()
                    && module[module.size() - first.size() - 1] == '.';
  return ends ? module.substr(0, module.size() - first.size()) : std::string_view{};
}

} // namespace

expected<scale_folds> find_scale_folds(const checkpoint& c, std::span<const choice> choices) {
  const auto model = model_of(c);
  if (!model)
    return tl::unexpected(model.error());
  scale_folds result;
  for (const auto& each : choices)
    result.unscaled[each.source] =
        *model == nullptr ? "clipped only: config.json names no model whose layers are known"
                          : "clipped only: what feeds it feeds more, or cannot be scaled alike";
  if (*model == nullptr)
    return result;
  const finder all(c, choices);
  for (const auto& each : choices)
    for (const auto& rule : rules_of(**model)) {
      const auto layer =
          layer_of(c.files[each.source.file].header.tensors[each.source.tensor].name, rule);
      auto made = layer.empty() ? std::nullopt : all.fold(layer, rule, (*model)->plus);
      if (!made)
        continue;
      for (const auto ref : made->weights)
        result.unscaled.erase(ref);
      result.folds.push_back(std::move(*made));
    }
  return result;
}

} // namespace viva::formats
