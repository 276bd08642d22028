// Reading back layout compressed-tensors: an I8 weight with a weight_scale of one value per row, or
// of one value.

#include "formats/dtype_names.hpp"
#include "formats/module_names.hpp"
#include "formats/stored_parts.hpp"

#include <string>

namespace viva::formats {

namespace {

constexpr std::string_view sign_of_others =
    "; only symmetric 8-bit weights with one scale per row or per tensor "
    "are read from int-quantized";

expected<void> claim_weight(file_parts& parts, const tensor_entry& codes,
                            const tensor_entry& scale) {
  const auto type = source_type(scale.dtype);
  if (!type)
    return fail(errc::unsupported,
                parts.at(scale.name) + "has dtype " + scale.dtype + std::string(sign_of_others));
  if (parts.find(codes.name + "_zero_point") != nullptr)
    return fail(errc::unsupported,
                parts.at(codes.name) + "has a zero point" + std::string(sign_of_others));
  const auto scales = scale.bytes() / kernels::bytes_of(*type);
  const bool per_tensor = scales == 1 && scale.shape.size() <= 1;
  if (!per_tensor && scales != codes.shape[0])
    return fail(errc::unsupported, parts.at(scale.name) + "has " + std::to_string(scales)
                                       + " scales for " + std::to_string(codes.shape[0]) + " rows"
                                       + std::string(sign_of_others));
  auto recipe = kernels::parse_recipe(per_tensor ? "int8-tensor" : "int8", *type);
  if (!recipe)
    return tl::unexpected(recipe.error());
  logical_tensor weight;
  weight.name = codes.name;
  weight.shape = codes.shape;
  weight.dtype = scale.dtype;
  weight.recipe = *recipe;
  weight.layout = "compressed-tensors";
  const part planes[] = {{codes.name, "I8"}, {scale.name, scale.dtype}};
  return claim(parts, std::move(weight), planes, {});
}

} // namespace

expected<void> claim_compressed_tensors(file_parts& parts) {
  for (const auto& entry : parts.file.header.tensors) {
    if (entry.dtype != "I8" || entry.shape.size() != 2 || module_of(entry.name).empty())
      continue;
    const auto* scale = parts.find(entry.name + "_scale");
    if (scale == nullptr)
      continue;
    if (auto done = claim_weight(parts, entry, *scale); !done)
      return done;
  }
  return {};
}

} // namespace viva::formats
