#include "formats/gguf_names.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace viva::formats {

namespace {

using name_pair = std::pair<std::string_view, std::string_view>;

constexpr name_pair of_block[] = {
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.qkv_proj", "attn_qkv"},
    {"self_attn.o_proj", "attn_output"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.gate_up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"mlp.gate", "ffn_gate_inp"},
    {"block_sparse_moe.gate", "ffn_gate_inp"},
    {"mlp.shared_expert.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_expert.up_proj", "ffn_up_shexp"},
    {"mlp.shared_expert.down_proj", "ffn_down_shexp"},
    {"mlp.shared_experts.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_experts.up_proj", "ffn_up_shexp"},
    {"mlp.shared_experts.down_proj", "ffn_down_shexp"},
};

constexpr name_pair of_expert[] = {
    {"gate_proj", "ffn_gate_exps"}, {"up_proj", "ffn_up_exps"}, {"down_proj", "ffn_down_exps"},
    {"w1", "ffn_gate_exps"},        {"w3", "ffn_up_exps"},      {"w2", "ffn_down_exps"},
};

/// Takes "12." off the front of `rest`.
bool take_number(std::string_view& rest, std::uint64_t& number) noexcept {
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  if (error != std::errc{} || end == rest.data() + rest.size() || *end != '.')
    return false;
  rest.remove_prefix(static_cast<std::size_t>(end - rest.data()) + 1);
  return true;
}

bool take_prefix(std::string_view& rest, std::string_view prefix) noexcept {
  if (!rest.starts_with(prefix))
    return false;
  rest.remove_prefix(prefix.size());
  return true;
}

} // namespace

std::optional<gguf_module> gguf_module_of(std::string_view module) {
  if (module == "lm_head" || module.ends_with(".lm_head"))
    return gguf_module{"output", {}};
  constexpr std::string_view layers = "layers.";
  const auto at = module.find(layers);
  if (at == std::string_view::npos || (at > 0 && module[at - 1] != '.'))
    return std::nullopt;
  auto rest = module.substr(at + layers.size());
  std::uint64_t layer = 0;
  if (!take_number(rest, layer))
    return std::nullopt;
  const auto block = "blk." + std::to_string(layer) + ".";
  if (const auto* found = std::ranges::find(of_block, rest, &name_pair::first);
      found != std::end(of_block))
    return gguf_module{block + std::string(found->second), {}};
  std::uint64_t expert = 0;
  if (!(take_prefix(rest, "mlp.experts.") || take_prefix(rest, "block_sparse_moe.experts."))
      || !take_number(rest, expert))
    return std::nullopt;
  if (const auto* found = std::ranges::find(of_expert, rest, &name_pair::first);
      found != std::end(of_expert))
    return gguf_module{block + std::string(found->second), expert};
  return std::nullopt;
}

} // namespace viva::formats
