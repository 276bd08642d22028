#include "formats/fused.hpp"

#include "formats/module_names.hpp"
#include "formats/shown.hpp"

#include <algorithm>
#include <array>
#include <map>

namespace viva::formats {

namespace {

struct fusion {
  std::string_view member; ///< Last part of the module's name.
  std::string_view layer;  ///< What stands for all of them.
};

constexpr std::array fusions = {
    fusion{"q_proj", "qkv"},
    fusion{"k_proj", "qkv"},
    fusion{"v_proj", "qkv"},
    fusion{"query", "qkv"},
    fusion{"key", "qkv"},
    fusion{"value", "qkv"},
    fusion{"wq", "qkv"},
    fusion{"wk", "qkv"},
    fusion{"wv", "qkv"},
    fusion{"gate_proj", "gate_up"},
    fusion{"up_proj", "gate_up"},
    fusion{"w1", "gate_up"},
    fusion{"w3", "gate_up"},
    fusion{"q_a_proj", "q_kv_a"},
    fusion{"kv_a_proj_with_mqa", "q_kv_a"},
};

/// How one weight of a fused layer is encoded.
struct member {
  tensor_ref at;
  std::string method;
};

std::string position_of(const checkpoint& c, tensor_ref at) {
  const auto& file = c.files[at.file];
  return shown(file.path) + ": tensor " + shown(file.header.tensors[at.tensor].name);
}

std::string fate_of(const member& m) {
  return m.method.empty() ? "stays as it is" : "becomes " + m.method;
}

} // namespace

std::string fused_layer(std::string_view tensor_name) {
  const auto module = module_of(tensor_name);
  const auto cut = module.rfind('.') + 1; // npos + 1 is 0: the whole name
  const auto* found = std::ranges::find(fusions, module.substr(cut), &fusion::member);
  return found == fusions.end() ? std::string{}
                                : std::string(module.substr(0, cut)) + std::string(found->layer);
}

expected<void> check_fused(const checkpoint& c, std::span<const choice> choices) {
  std::map<tensor_ref, std::string> methods;
  for (const auto& each : choices)
    methods[each.source] = each.recipe.name();
  std::map<std::string, member> first;
  for (std::uint32_t f = 0; f < c.files.size(); ++f)
    for (std::uint32_t t = 0; t < c.files[f].header.tensors.size(); ++t) {
      const auto& entry = c.files[f].header.tensors[t];
      const auto layer = is_linear(entry) ? fused_layer(entry.name) : std::string{};
      if (layer.empty())
        continue;
      const auto found = methods.find({f, t});
      member now{{f, t}, found == methods.end() ? std::string{} : found->second};
      const auto [other, fresh] = first.emplace(layer, now);
      if (!fresh && other->second.method != now.method)
        return fail(errc::unsupported, position_of(c, now.at) + ": " + fate_of(now) + ", but "
                                           + position_of(c, other->second.at) + " "
                                           + fate_of(other->second)
                                           + "; engines fuse the two and refuse the file. Give "
                                             "both one method, or leave both out");
    }
  return {};
}

} // namespace viva::formats
