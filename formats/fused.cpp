#include "formats/fused.hpp"

#include "formats/module_names.hpp"
#include "formats/shown.hpp"
#include "kernels/fp8.hpp"

#include <algorithm>
#include <array>
#include <map>

namespace viva::formats {

namespace {

struct fusion {
  std::string_view member; ///< Last part of the module's name.
  std::string_view layer;  ///< What stands for all of them.
  bool last = false;       ///< Of its layer's rows.
};

constexpr std::array fusions = {
    fusion{"q_proj", "qkv"},
    fusion{"k_proj", "qkv"},
    fusion{"v_proj", "qkv", true},
    fusion{"query", "qkv"},
    fusion{"key", "qkv"},
    fusion{"value", "qkv", true},
    fusion{"wq", "qkv"},
    fusion{"wk", "qkv"},
    fusion{"wv", "qkv", true},
    fusion{"gate_proj", "gate_up"},
    fusion{"up_proj", "gate_up", true},
    fusion{"w1", "gate_up"},
    fusion{"w3", "gate_up", true},
    fusion{"q_a_proj", "q_kv_a"},
    fusion{"kv_a_proj_with_mqa", "q_kv_a", true},
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

/// How a module's name ends, and how it is fused; the end of `fusions` where it is not.
struct place {
  std::string_view prefix;
  const fusion* how;
};

place place_of(std::string_view tensor_name) {
  const auto module = module_of(tensor_name);
  const auto cut = module.rfind('.') + 1; // npos + 1 is 0: the whole name
  return {module.substr(0, cut),
          std::ranges::find(fusions, module.substr(cut), &fusion::member)};
}

/// Blocks of rows of a fused layer are those of its members only where every member but the last
/// has whole ones; vLLM refuses others (validate_fp8_block_shape).
expected<void> check_blocks(const checkpoint& c, const member& of, const tensor_entry& entry) {
  constexpr auto side = kernels::fp8::block_side;
  if (of.method != "fp8-block" || entry.shape[0] % side == 0 || place_of(entry.name).how->last)
    return {};
  return fail(errc::bad_shape,
              position_of(c, of.at) + ": has " + std::to_string(entry.shape[0])
                + " rows, and engines fuse it with others: fp8-block takes it only in multiples of "
                + std::to_string(side)
                + ". Give the fused tensors method fp8 with a --rule, or leave them out with "
                  "--exclude");
}

} // namespace

std::string fused_layer(std::string_view tensor_name) {
  const auto [prefix, how] = place_of(tensor_name);
  return how == fusions.end() ? std::string{} : std::string(prefix) + std::string(how->layer);
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
      if (auto whole = check_blocks(c, now, entry); !whole)
        return whole;
    }
  return {};
}

} // namespace viva::formats
