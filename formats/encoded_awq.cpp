// Reading back layout awq: AutoAWQ's GEMM, ours or another tool's.

#include "formats/dtype_names.hpp"
#include "formats/shown.hpp"
#include "formats/stored_parts.hpp"
#include "kernels/awq.hpp"

#include <string>

namespace viva::formats {

namespace {

using shape_type = std::vector<std::uint64_t>;

std::string text_of(const shape_type& shape) {
  std::string text;
  for (const auto extent : shape)
    text += (text.empty() ? "[" : ", ") + std::to_string(extent);
  return text + "]";
}

expected<void> claim_weight(file_parts& parts, const tensor_entry& codes,
                            const std::string& module) {
  const auto* zeros = parts.find(module + ".qzeros");
  const auto* scales = parts.find(module + ".scales");
  const auto missing = zeros == nullptr ? "qzeros" : scales == nullptr ? "scales" : "";
  if (*missing != 0)
    return fail(errc::malformed, parts.at(codes.name) + "needs the tensor "
                                     + shown(module + "." + missing)
                                     + " in the same file; write the checkpoint again");
  const auto cols = codes.shape[0], rows = codes.shape[1] * kernels::awq::unit_rows;
  const auto groups = zeros->shape.empty() ? 0 : zeros->shape[0];
  if (groups == 0 || cols % groups != 0 || zeros->shape != shape_type{groups, codes.shape[1]}
      || scales->shape != shape_type{groups, rows})
    return fail(errc::unsupported, parts.at(codes.name) + "has shape " + text_of(codes.shape)
                                       + ", its qzeros " + text_of(zeros->shape) + ", its scales "
                                       + text_of(scales->shape)
                                       + "; only AWQ's version gemm with 4 bits is read");
  const auto& notes = parts.notes;
  const auto note = notes.find(module + ".weight");
  const auto type = note == notes.end() ? source_type("F16") : source_type(note->second.dtype);
  auto recipe = kernels::parse_recipe("awq:group=" + std::to_string(cols / groups),
                                      type.value_or(kernels::dtype::f16));
  if (!recipe)
    return fail(errc::unsupported, parts.at(codes.name) + recipe.error().text);
  if (note != parts.notes.end())
    if (const auto noted = kernels::parse_recipe(note->second.method, recipe->source);
        noted && noted->row == recipe->row)
      recipe->flags = noted->flags;
  logical_tensor weight;
  weight.name = module + ".weight";
  weight.shape = {rows, cols};
  weight.dtype = header_name(recipe->source);
  weight.recipe = *recipe;
  weight.layout = "awq";
  weight.transposed = {4, 2, 4};
  const part planes[] = {{codes.name, "I32"}, {scales->name, "F16"}, {zeros->name, "I32"}};
  return claim(parts, std::move(weight), planes, {});
}

} // namespace

expected<void> claim_awq(file_parts& parts) {
  constexpr std::string_view ending = ".qweight";
  for (const auto& entry : parts.file.header.tensors) {
    if (entry.dtype != "I32" || entry.shape.size() != 2 || !entry.name.ends_with(ending))
      continue;
    const auto module = entry.name.substr(0, entry.name.size() - ending.size());
    if (auto done = claim_weight(parts, entry, module); !done)
      return done;
  }
  return {};
}

} // namespace viva::formats
