// Recipes: the words of `-m` to a method with its options, and back.

#include "kernels/registry.hpp"

#include <algorithm>
#include <charconv>
#include <vector>

namespace viva::kernels {

namespace {

std::string known_methods() {
  std::string list;
  for (const auto& row : methods())
    list.append(list.empty() ? "" : ", ").append(row.name);
  return list;
}

std::string known_options(const method& row) {
  std::string list;
  for (const auto size :
       row.rules.size_key.empty() ? std::span<const std::uint32_t>{} : row.rules.sizes)
    list.append(list.empty() ? "" : ", ")
        .append(row.rules.size_key)
        .append("=")
        .append(std::to_string(size));
  for (const auto& flag : row.rules.flags)
    list.append(list.empty() ? "" : ", ").append(flag.name);
  return list.empty() ? "it has none" : "it has " + list;
}

/// Sets what `word`, one option, says. False where the method has no such option.
bool apply_option(const option_rules& rules, std::string_view word, recipe& out) {
  for (const auto& flag : rules.flags)
    if (word == flag.name) {
      out.flags |= flag.bit;
      return true;
    }
  if (rules.size_key.empty() || !word.starts_with(rules.size_key))
    return false;
  word.remove_prefix(rules.size_key.size());
  if (word.empty() || word.front() != '=')
    return false;
  word.remove_prefix(1);
  std::uint32_t size = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), size);
  if (error != std::errc{} || end != word.data() + word.size()
      || std::ranges::find(rules.sizes, size) == rules.sizes.end())
    return false;
  out.block = size;
  return true;
}

/// What "NAME:VARIANT…" means where NAME-VARIANT is a method of its own; null where it is none.
/// `options`: all behind NAME.
const method* variant_of(std::string_view name, std::string_view options) {
  if (options.empty())
    return nullptr;
  const auto word = options.substr(1, options.find(':', 1) - 1);
  return find_method(std::string(name) + "-" + std::string(word));
}

} // namespace

std::string recipe::name() const {
  if (row == nullptr)
    return {};
  std::string text(row->name);
  const auto& rules = row->rules;
  if (!rules.size_key.empty() && block != rules.sizes.front())
    text.append(":").append(rules.size_key).append("=").append(std::to_string(block));
  for (const auto& flag : rules.flags)
    if ((flags & flag.bit) != 0)
      text.append(":").append(flag.name);
  return text;
}

std::uint64_t recipe::cols_multiple() const noexcept {
  // Blocks of a stack span as many columns more as its default ones do.
  return row->rules.whole_blocks ? row->cols_multiple / row->rules.sizes.front() * block
                                 : row->cols_multiple;
}

expected<recipe> parse_recipe(std::string_view text, dtype source) {
  const auto name = text.substr(0, text.find(':'));
  const method* row = find_method(name);
  if (row == nullptr)
    return fail(errc::unknown_method,
                "no method is called '" + std::string(name) + "'; there are " + known_methods());
  auto rest = text.substr(name.size());
  if (const auto* variant = variant_of(name, rest); variant != nullptr) {
    rest.remove_prefix(variant->name.size() - row->name.size()); // as long as "-VARIANT"
    row = variant;
  }
  recipe result{.row = row, .source = source};
  result.block = row->rules.sizes.empty() ? 0 : row->rules.sizes.front();
  std::vector<std::string_view> said; // what is set, without what to
  while (!rest.empty()) {
    rest.remove_prefix(1); // the colon
    const auto word = rest.substr(0, rest.find(':')), what = word.substr(0, word.find('='));
    if (!apply_option(row->rules, word, result))
      return fail(errc::bad_option, "method " + std::string(row->name) + " has no option '"
                                        + std::string(word) + "'; " + known_options(*row));
    if (std::ranges::find(said, what) != said.end())
      return fail(errc::bad_option, "method " + std::string(row->name) + " is told '"
                                        + std::string(what) + "' twice; say it once");
    said.push_back(what);
    rest.remove_prefix(word.size());
  }
  return result;
}

} // namespace viva::kernels
