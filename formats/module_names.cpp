#include "formats/module_names.hpp"

#include "formats/dtype_names.hpp"
#include "formats/layout.hpp"

#include <algorithm>
#include <array>

namespace viva::formats {

namespace {

constexpr std::array<std::string_view, 3> table_marks = {"embed", "position", "token_type"};
constexpr std::array<std::string_view, 5> tables = {"wte", "wpe", "emb", "shared",
                                                    "relative_attention_bias"};
constexpr std::array<std::string_view, 4> routers = {"gate", "router", "gate_inp",
                                                     "shared_expert_gate"};
constexpr std::array<std::string_view, 6> heads = {"lm_head",    "head",       "score",
                                                   "classifier", "qa_outputs", "cls"};

constexpr char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool same(std::string_view a, std::string_view b) noexcept {
  return std::ranges::equal(a, b, {}, lower);
}

bool holds(std::string_view text, std::string_view mark) noexcept {
  return !std::ranges::search(text, mark, {}, lower).empty();
}

bool is_one_of(std::string_view part, std::span<const std::string_view> names) noexcept {
  return std::ranges::any_of(names, [&](std::string_view name) { return same(part, name); });
}

/// Whether `claim` holds for any part of the path.
template <class Claim>
bool any_part(std::string_view module, Claim&& claim) noexcept {
  for (;;) {
    const auto dot = module.find('.');
    if (claim(module.substr(0, dot)))
      return true;
    if (dot == std::string_view::npos)
      return false;
    module.remove_prefix(dot + 1);
  }
}

} // namespace

std::string_view module_of(std::string_view tensor_name) noexcept {
  constexpr std::string_view ending = ".weight";
  if (!tensor_name.ends_with(ending))
    return {};
  return tensor_name.substr(0, tensor_name.size() - ending.size());
}

module_kind kind_of(std::string_view module) noexcept {
  const auto last = module.substr(module.rfind('.') + 1); // npos + 1 is 0: the whole name
  if (any_part(module, [](std::string_view part) {
        return is_one_of(part, tables)
               || std::ranges::any_of(table_marks,
                                      [&](std::string_view mark) { return holds(part, mark); });
      }))
    return module_kind::table;
  if (holds(last, "norm") || same(last, "ln") || same(last.substr(0, 3), "ln_"))
    return module_kind::norm;
  if (is_one_of(last, routers))
    return module_kind::router;
  if (same(module, "output")
      || any_part(module, [](std::string_view part) { return is_one_of(part, heads); }))
    return module_kind::head;
  return module_kind::linear;
}

bool is_linear(const tensor_entry& tensor) noexcept {
  const auto module = module_of(tensor.name);
  if (module.empty() || tensor.shape.size() != 2 || tensor.bytes() == 0
      || !source_type(tensor.dtype))
    return false;
  const auto kind = kind_of(module);
  return kind != module_kind::table && kind != module_kind::norm;
}

bool quantizable(const tensor_entry& tensor) noexcept {
  return is_linear(tensor) && kind_of(module_of(tensor.name)) == module_kind::linear;
}

} // namespace viva::formats
