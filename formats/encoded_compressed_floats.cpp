// Reading back the float formats of layout compressed-tensors, ours or another tool's: F8_E4M3
// weights with a scale per row, tensor or block of 128 x 128 (also DeepSeek's weight_scale_inv),
// and packed E2M1 weights with the scales of NVFP4 or MXFP4.

#include "formats/dtype_names.hpp"
#include "formats/module_names.hpp"
#include "formats/stored_parts.hpp"
#include "kernels/fp8.hpp"

#include <string>

namespace viva::formats {

namespace {

constexpr std::string_view packed_ending = "_packed";

/// The method whose scales have this shape; empty where none has.
std::string_view fp8_method(const std::vector<std::uint64_t>& weight,
                            const std::vector<std::uint64_t>& scales) {
  constexpr auto side = kernels::fp8::block_side;
  const auto blocks = [](std::uint64_t extent) { return (extent + side - 1) / side; };
  if (scales.empty() || scales == std::vector<std::uint64_t>{1})
    return "fp8-tensor";
  if (scales == std::vector<std::uint64_t>{weight[0], 1}
      || scales == std::vector<std::uint64_t>{weight[0]})
    return "fp8";
  if (scales == std::vector<std::uint64_t>{blocks(weight[0]), blocks(weight[1])})
    return "fp8-block";
  return {};
}

expected<void> claim_fp8(file_parts& parts, const tensor_entry& codes, const tensor_entry& scale) {
  const auto type = source_type(scale.dtype);
  const auto method = fp8_method(codes.shape, scale.shape);
  if (!type || method.empty())
    return fail(errc::unsupported,
                parts.at(scale.name) + "has dtype " + scale.dtype
                    + " and a shape by which its weight cannot be read; F32, F16 and BF16 scales "
                      "per tensor, row or block of 128 x 128 can");
  auto recipe = kernels::parse_recipe(method, *type);
  if (!recipe)
    return tl::unexpected(recipe.error());
  logical_tensor weight;
  weight.name = codes.name;
  weight.shape = codes.shape;
  weight.dtype = scale.dtype;
  weight.recipe = *recipe;
  weight.layout = "compressed-tensors";
  const part planes[] = {{codes.name, codes.dtype}, {scale.name, scale.dtype}};
  return claim(parts, std::move(weight), planes, {});
}

/// What the weight was encoded with: the note's word where it is decoded as the signs say.
expected<kernels::recipe> fp4_recipe(const file_parts& parts, const std::string& name,
                                     std::string_view method) {
  const auto note = parts.notes.find(name);
  const auto type = note == parts.notes.end() ? std::nullopt : source_type(note->second.dtype);
  auto by_signs = kernels::parse_recipe(method, type.value_or(kernels::dtype::bf16));
  if (!by_signs || !type)
    return by_signs;
  auto noted = kernels::parse_recipe(note->second.method, *type);
  const bool alike = noted && noted->row->decode_reference == by_signs->row->decode_reference;
  return alike ? noted : by_signs;
}

expected<void> claim_fp4(file_parts& parts, const tensor_entry& codes, const tensor_entry& scale) {
  const bool nvfp4 = scale.dtype == "F8_E4M3";
  if (!nvfp4 && scale.dtype != "U8")
    return fail(errc::unsupported, parts.at(scale.name) + "has dtype " + scale.dtype
                                       + "; F8_E4M3 (NVFP4) and U8 (MXFP4) can be read");
  logical_tensor weight;
  weight.name = codes.name.substr(0, codes.name.size() - packed_ending.size());
  weight.shape = {codes.shape[0], codes.shape[1] * 2};
  weight.layout = "compressed-tensors";
  auto recipe = fp4_recipe(parts, weight.name, nvfp4 ? "nvfp4" : "mxfp4");
  if (!recipe)
    return tl::unexpected(recipe.error());
  weight.dtype = header_name(recipe->source);
  weight.recipe = *recipe;
  std::vector<part> planes = {{codes.name, "U8"}, {scale.name, scale.dtype}};
  if (nvfp4)
    planes.push_back({weight.name + "_global_scale", "F32"});
  return claim(parts, std::move(weight), planes, {});
}

} // namespace

expected<void> claim_compressed_floats(file_parts& parts) {
  for (const auto& entry : parts.file.header.tensors) {
    if (entry.shape.size() != 2)
      continue;
    expected<void> done;
    if (entry.dtype == "F8_E4M3" && !module_of(entry.name).empty()) {
      for (const char* ending : {"_scale", "_scale_inv"})
        if (const auto* scale = parts.find(entry.name + ending); scale != nullptr && done)
          done = claim_fp8(parts, entry, *scale);
    } else if (entry.dtype == "U8" && entry.name.ends_with(".weight_packed")) {
      const auto weight = entry.name.substr(0, entry.name.size() - packed_ending.size());
      if (const auto* scale = parts.find(weight + "_scale"); scale != nullptr)
        done = claim_fp4(parts, entry, *scale);
    }
    if (!done)
      return done;
  }
  return {};
}

} // namespace viva::formats
