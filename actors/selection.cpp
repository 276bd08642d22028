#include "actors/selection.hpp"

#include "formats/layout.hpp"
#include "formats/shown.hpp"
#include "kernels/registry.hpp"

#include <re2/re2.h>

#include <algorithm>

namespace viva::actors {

namespace {

constexpr std::string_view copy = "copy"; ///< As a rule's method: leave the tensor as it is.

/// Refuses a method no tensor could be given, whatever its type.
expected<void> check_method(const std::string& method) {
  const auto recipe = kernels::parse_recipe(method, kernels::dtype::f32);
  return recipe ? expected<void>{} : tl::unexpected(recipe.error());
}

} // namespace

selection::selection() = default;
selection::selection(selection&&) noexcept = default;
selection::~selection() = default;

expected<selection::expression> selection::compile(const std::string& text) {
  RE2::Options options;
  options.set_log_errors(false);
  auto compiled = std::make_unique<const RE2>(text, options);
  if (!compiled->ok())
    return fail(errc::bad_option, formats::shown(text) + " is no regular expression of RE2's: "
                                      + formats::shown(compiled->error()));
  return compiled;
}

expected<selection> selection::of(const quantize_spec& spec) {
  selection result;
  for (const auto& [texts, out] :
       {std::pair{&spec.include, &result.x_include}, std::pair{&spec.exclude, &result.x_exclude}})
    for (const auto& text : *texts) {
      auto compiled = compile(text);
      if (!compiled)
        return tl::unexpected(compiled.error());
      out->push_back(std::move(*compiled));
    }
  for (const auto& [text, method] : spec.rules) {
    auto compiled = compile(text);
    if (!compiled)
      return tl::unexpected(compiled.error());
    if (auto good = check_method(method); method != copy && !good)
      return fail(good.error().code, "rule " + formats::shown(text) + ": " + good.error().text);
    result.x_rules.emplace_back(std::move(*compiled), method);
  }
  if (auto good = check_method(spec.method); !good)
    return tl::unexpected(good.error());
  result.x_method = spec.method;
  return result;
}

std::string selection::method_of(const formats::tensor_entry& t) const {
  const auto hit = [&](const expression& re) { return RE2::PartialMatch(t.name, *re); };
  if (!formats::quantizable(t) || std::ranges::any_of(x_exclude, hit)
      || (!x_include.empty() && std::ranges::none_of(x_include, hit)))
    return {};
  for (const auto& [re, method] : x_rules)
    if (hit(re))
      return method == copy ? std::string{} : method;
  return x_method;
}

} // namespace viva::actors
