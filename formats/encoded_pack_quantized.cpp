// Reading back compressed-tensors' pack-quantized: 4 or 8 bits of an integer in I32, one scale and
// perhaps one zero point per group of columns, ours or another tool's.

#include "formats/dtype_names.hpp"
#include "formats/shown.hpp"
#include "formats/source_file.hpp"
#include "formats/stored_parts.hpp"

#include <array>
#include <cstring>

namespace viva::formats {

namespace {

constexpr std::string_view mark = "_packed";

constexpr std::string_view readable =
    "; 4 bits, and symmetric 8 bits, in groups of 32, 64 or 128 columns can be read from "
    "pack-quantized";

/// The two numbers of a weight_shape.
expected<std::array<std::uint64_t, 2>> read_shape(const file_parts& parts,
                                                  const tensor_entry& entry) {
  std::array<std::uint64_t, 2> shape{};
  if (entry.dtype != "I64" || entry.bytes() != sizeof shape)
    return fail(errc::malformed, parts.at(entry.name) + "is not two I64, rows and columns");
  const auto source = source_file::open(parts.file.path);
  if (!source)
    return tl::unexpected(source.error());
  const auto bytes = source->read(entry.begin, entry.bytes());
  if (!bytes)
    return tl::unexpected(bytes.error());
  std::memcpy(shape.data(), bytes->data(), sizeof shape);
  return shape;
}

/// The words of the recipe that these tensors are; empty where they are none of ours.
std::string words_of(const tensor_entry& packed, const tensor_entry& scale, std::uint64_t cols,
                     bool zeros) {
  const auto groups = scale.shape.size() == 2 ? scale.shape[1] : 0;
  if (packed.shape.size() != 2 || groups == 0 || cols % groups != 0)
    return {};
  const auto group = ":group=" + std::to_string(cols / groups);
  if (packed.shape[1] == cols / 8 && cols % 8 == 0)
    return "int4" + group + (zeros ? ":asym" : "");
  return packed.shape[1] == cols / 4 && cols % 4 == 0 && !zeros ? "int8-group" + group : "";
}

/// The recipe of our note, which knows the flags that leave no trace; `found` where there is none.
expected<kernels::recipe> noted_recipe(const file_parts& parts, const std::string& name,
                                       const kernels::recipe& found) {
  const auto note = parts.notes.find(name);
  if (note == parts.notes.end())
    return found;
  const auto noted = kernels::parse_recipe(note->second.method, found.source);
  const auto planes_count = [](const kernels::recipe& with) {
    return with.row->shape(with, with.cols_multiple()).planes_count;
  };
  if (noted && noted->row == found.row && noted->block == found.block
      && planes_count(*noted) == planes_count(found))
    return *noted;
  return fail(errc::malformed, parts.at(name) + "is noted as " + shown(note->second.method)
                                   + ", but its tensors are those of " + found.name()
                                   + "; write the checkpoint again");
}

expected<void> claim_weight(file_parts& parts, const tensor_entry& packed,
                            const tensor_entry& scale, const tensor_entry& shape_entry) {
  const auto name = packed.name.substr(0, packed.name.size() - mark.size());
  const auto shape = read_shape(parts, shape_entry);
  if (!shape)
    return tl::unexpected(shape.error());
  if (parts.find(name + "_g_idx") != nullptr)
    return fail(errc::unsupported, parts.at(packed.name)
                                       + "has its columns in another order (g_idx)"
                                       + std::string(readable));
  const auto type = source_type(scale.dtype);
  const bool zeros = parts.find(name + "_zero_point") != nullptr;
  const auto words = words_of(packed, scale, (*shape)[1], zeros);
  auto recipe = kernels::parse_recipe(words, type.value_or(kernels::dtype::f32));
  if (!type || !recipe)
    return fail(errc::unsupported, parts.at(packed.name) + "does not go with its shape and scales"
                                       + std::string(readable));
  const auto noted = noted_recipe(parts, name, *recipe);
  if (!noted)
    return tl::unexpected(noted.error());
  logical_tensor weight;
  weight.name = name;
  weight.shape = {(*shape)[0], (*shape)[1]};
  weight.dtype = scale.dtype;
  weight.recipe = *noted;
  weight.layout = "compressed-tensors";
  std::vector<part> planes = {{packed.name, "I32"}, {scale.name, scale.dtype}};
  if (zeros)
    planes.push_back({name + "_zero_point", "I32"});
  const part sides[] = {{shape_entry.name, "I64"}};
  return claim(parts, std::move(weight), planes, sides);
}

} // namespace

expected<void> claim_pack_quantized(file_parts& parts) {
  for (const auto& entry : parts.file.header.tensors) {
    if (!entry.name.ends_with(mark) || entry.dtype != "I32")
      continue;
    const auto name = entry.name.substr(0, entry.name.size() - mark.size());
    const auto* scale = parts.find(name + "_scale");
    const auto* shape = parts.find(name + "_shape");
    if (scale == nullptr || shape == nullptr)
      continue;
    if (auto done = claim_weight(parts, entry, *scale, *shape); !done)
      return done;
  }
  return {};
}

} // namespace viva::formats
