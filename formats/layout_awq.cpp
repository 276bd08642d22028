// Layout awq: AutoAWQ's GEMM (formats.md 4.1), which lies transposed: input channels are rows. For
// a module X, N out, K in, groups of g:
//   X.qweight  I32 (K, N/8)     plane codes, transposed
//   X.qzeros   I32 (K/g, N/8)   plane zeros, transposed
//   X.scales   F16 (K/g, N)     plane scales, transposed

#include "formats/layout_rules.hpp"
#include "formats/module_names.hpp"
#include "formats/shown.hpp"
#include "kernels/awq.hpp"

namespace viva::formats::awq {

using json = nlohmann::ordered_json;

namespace {

out_tensor transposed(const encoded_weight& weight, std::string_view name, std::string_view dtype,
                      std::vector<std::uint64_t> extents, std::uint32_t plane,
                      std::uint32_t element_bytes) {
  auto made = weight.plane("", dtype, std::move(extents), plane);
  made.entry.name = std::string(module_of(weight.entry.name)) + "." + std::string(name);
  made.transposed = element_bytes;
  return made;
}

} // namespace

expected<void> fits(const encoded_weight& weight) {
  if (weight.rows % kernels::awq::unit_rows != 0)
    return fail(errc::bad_shape, "has " + std::to_string(weight.rows)
                                     + " rows; layout awq packs them by 8. Leave it out with "
                                       "--exclude");
  if (weight.cols % weight.with.block != 0)
    return fail(errc::bad_shape, "has " + std::to_string(weight.cols) + " columns, which groups of "
                                     + std::to_string(weight.with.block)
                                     + " do not divide. Take a smaller group, as in -m "
                                       "awq:group=32, or leave it out with --exclude");
  if (module_of(weight.entry.name).empty())
    return fail(errc::unsupported,
                "is no MODULE.weight, which layout awq needs. Leave it out with --exclude");
  return {};
}

std::vector<out_tensor> tensors(const encoded_weight& weight) {
  const auto words = weight.rows / kernels::awq::unit_rows;
  const auto groups = weight.cols / weight.with.block;
  return {transposed(weight, "qweight", "I32", {weight.cols, words}, 0, 4),
          transposed(weight, "scales", "F16", {groups, weight.rows}, 1, 2),
          transposed(weight, "qzeros", "I32", {groups, words}, 2, 4)};
}

expected<json> config(const checkpoint& c, std::span<const choice> choices,
                      const std::vector<std::string>& kept) {
  const auto group = choices.front().recipe.block;
  for (const auto& each : choices)
    if (each.recipe.block != group) {
      const auto& file = c.files[each.source.file];
      return fail(errc::unsupported, shown(file.path) + ": tensor "
                                         + shown(file.header.tensors[each.source.tensor].name)
                                         + ": has groups of " + std::to_string(each.recipe.block)
                                         + ", another has " + std::to_string(group)
                                         + "; one output of layout awq has one. Change --rule");
    }
  // Null lets engines skip what they skip by themselves, the head; names are matched as substrings.
  const auto skipped = kept == std::vector<std::string>{"lm_head"} ? json(nullptr) : json(kept);
  return json{{"bits", 4},
              {"group_size", group},
              {"modules_to_not_convert", skipped},
              {"quant_method", "awq"},
              {"version", "gemm"},
              {"zero_point", true}};
}

} // namespace viva::formats::awq
