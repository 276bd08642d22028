#include "formats/encoded.hpp"

#include "formats/dtype_names.hpp"
#include "formats/layout_rules.hpp"
#include "formats/shown.hpp"
#include "formats/stored_parts.hpp"

#include <algorithm>
#include <array>

namespace viva::formats {

namespace {

constexpr std::uint64_t values_max = 1ull
                                     << 48; // as offsets are bounded; keeps products in 64 bits

/// A weight of the note: its recipe, or why there is none.
expected<kernels::recipe> recipe_of(const file_parts& parts, const std::string& name,
                                    const weight_note& note) {
  const auto type = source_type(note.dtype);
  if (!type)
    return fail(errc::malformed, parts.at(name) + "__metadata__ viva gives its dtype as "
                                     + shown(note.dtype) + "; quantize the source again");
  auto recipe = kernels::parse_recipe(note.method, *type);
  if (!recipe)
    return fail(recipe.error().code,
                parts.at(name) + recipe.error().text + "; a newer viva may know it");
  return recipe;
}

/// The readers of the layouts, each of which claims the weights it knows; the note comes last.
constexpr std::array readers = {claim_bitsandbytes,      claim_llm_int8,
                                claim_compressed_tensors, claim_pack_quantized,
                                claim_compressed_floats, claim_awq,
                                claim_noted};

expected<void> claim_all(file_parts& parts) {
  const auto& metadata = parts.file.header.metadata;
  if (const auto note = metadata.find(note_key); note != metadata.end()) {
    auto notes = read_note(note->second, parts.file.path);
    if (!notes)
      return tl::unexpected(notes.error());
    parts.notes = std::move(*notes);
  }
  for (const auto claim_weights : readers)
    if (auto done = claim_weights(parts); !done)
      return done;
  return {};
}

/// Gives every tensor of a file what its note says it was scaled by.
expected<void> take_scales(file_parts& parts) {
  const auto& metadata = parts.file.header.metadata;
  const auto note = metadata.find(note_key), digits = metadata.find(scales_key);
  if (note == metadata.end() && digits == metadata.end())
    return {};
  if (note == metadata.end())
    return fail(errc::malformed, shown(parts.file.path) + ": __metadata__ has " + scales_key
                                     + ", but no viva that tells of them; quantize the source "
                                       "again");
  auto scales = read_scales(
      note->second,
      digits == metadata.end() ? std::nullopt : std::optional<std::string_view>(digits->second),
      parts.file.path);
  if (!scales)
    return tl::unexpected(scales.error());
  for (auto& tensor : parts.found) {
    const auto found = scales->find(tensor.name);
    if (found == scales->end())
      continue;
    tensor.scales = std::move(found->second);
    scales->erase(found);
    const auto& [columns, rows, plus] = tensor.scales;
    const bool fits = source_type(tensor.dtype) && !tensor.shape.empty() && tensor.shape.size() <= 2
                      && (!rows || rows->size() == tensor.shape[0])
                      && (!columns
                          || (tensor.shape.size() == 2 && columns->size() == tensor.shape[1]));
    if (!fits)
      return fail(errc::malformed, parts.at(tensor.name)
                                       + "has another shape than the scales noted of it; write the "
                                         "checkpoint again");
  }
  if (!scales->empty())
    return fail(errc::malformed, parts.at(scales->begin()->first)
                                     + "is noted as scaled, but is not in the file; write the "
                                       "checkpoint again");
  return {};
}

logical_tensor plain(const file_parts& parts, const tensor_entry& entry) {
  logical_tensor tensor;
  tensor.name = entry.name;
  tensor.shape = entry.shape;
  tensor.file = parts.index;
  tensor.dtype = entry.dtype;
  tensor.begin = entry.begin;
  tensor.end = entry.end;
  tensor.layout = "safetensors";
  tensor.stored_bytes = entry.bytes();
  return tensor;
}

} // namespace

file_parts::file_parts(const checkpoint_file& of, std::uint32_t number) : file(of), index(number) {
  for (const auto& tensor : of.header.tensors)
    by_name.emplace(tensor.name, &tensor);
}

const tensor_entry* file_parts::find(const std::string& name) const {
  const auto found_at = by_name.find(name);
  return found_at == by_name.end() ? nullptr : found_at->second;
}

std::string file_parts::at(std::string_view name) const {
  return shown(file.path) + ": tensor " + shown(name) + ": ";
}

expected<void> claim(file_parts& parts, logical_tensor weight, std::span<const part> planes,
                     std::span<const part> sides) {
  const auto& shape = weight.shape;
  if (shape.size() != 2 || shape[0] == 0 || shape[1] == 0 || shape[0] > values_max / shape[1]
      || shape[1] % weight.recipe->cols_multiple() != 0)
    return fail(errc::malformed, parts.at(weight.name) + "has a shape that method "
                                     + weight.recipe->name() + " cannot take");
  const auto geometry = weight.recipe->row->shape(*weight.recipe, shape[1]);
  if (geometry.planes_count != planes.size())
    return fail(errc::unsupported, parts.at(weight.name) + "layout " + weight.layout
                                       + " does not hold method " + weight.recipe->name());
  const auto take = [&](const part& wanted) -> const tensor_entry* {
    const auto* entry = parts.find(wanted.name);
    if (entry == nullptr || (!wanted.dtype.empty() && entry->dtype != wanted.dtype))
      return nullptr;
    parts.claimed.insert(entry->name);
    weight.stored_bytes += entry->bytes();
    return entry;
  };
  const auto absent = [&](const part& wanted) {
    return fail(
        errc::malformed,
        parts.at(weight.name) + "needs the tensor " + shown(wanted.name)
            + (wanted.dtype.empty() ? std::string{} : " of dtype " + std::string(wanted.dtype))
            + " in the same file; write the checkpoint again");
  };
  for (std::size_t p = 0; p < planes.size(); ++p) {
    const auto* entry = take(planes[p]);
    if (entry == nullptr)
      return absent(planes[p]);
    const auto bytes = geometry.planes[p].bytes(0, shape[0], shape[1]);
    if (entry->bytes() != bytes)
      return fail(errc::malformed, parts.at(entry->name) + "has " + std::to_string(entry->bytes())
                                       + " bytes; " + weight.recipe->name() + " of ["
                                       + std::to_string(shape[0]) + ", " + std::to_string(shape[1])
                                       + "] needs " + std::to_string(bytes)
                                       + "; write the checkpoint again");
    weight.planes.push_back(entry->begin);
  }
  for (const auto& side : sides)
    if (take(side) == nullptr)
      return absent(side);
  weight.file = parts.index;
  parts.weights.insert(weight.name);
  parts.found.push_back(std::move(weight));
  return {};
}

expected<void> claim_noted(file_parts& parts) {
  for (const auto& [name, note] : parts.notes) {
    if (parts.weights.contains(name))
      continue;
    if (note.layout != "safetensors")
      return fail(errc::malformed, parts.at(name) + "is noted as encoded in layout "
                                       + shown(note.layout)
                                       + ", whose tensors are missing; write the checkpoint again");
    const auto recipe = recipe_of(parts, name, note);
    if (!recipe)
      return tl::unexpected(recipe.error());
    logical_tensor weight;
    weight.name = name;
    weight.shape = note.shape;
    weight.dtype = note.dtype;
    weight.recipe = *recipe;
    weight.layout = note.layout;
    if (note.shape.size() != 2)
      return fail(errc::malformed, parts.at(name) + "is noted with "
                                       + std::to_string(note.shape.size())
                                       + " dimensions; a quantized weight has 2");
    const auto shape = recipe->row->shape(*recipe, note.shape[1]);
    std::vector<part> planes;
    for (std::size_t p = 0; p < shape.planes_count; ++p)
      planes.push_back({name + plain_safetensors::plane_ending(shape, p), "U8"});
    if (auto done = claim(parts, std::move(weight), planes, {}); !done)
      return done;
  }
  return {};
}

expected<std::vector<logical_tensor>> read_logical(const checkpoint& c) {
  std::vector<logical_tensor> all;
  for (std::uint32_t f = 0; f < c.files.size(); ++f) {
    file_parts parts(c.files[f], f);
    if (auto done = claim_all(parts); !done)
      return tl::unexpected(done.error());
    for (const auto& entry : parts.file.header.tensors)
      if (!parts.claimed.contains(entry.name))
        parts.found.push_back(plain(parts, entry));
    if (auto scaled = take_scales(parts); !scaled)
      return tl::unexpected(scaled.error());
    std::ranges::move(parts.found, std::back_inserter(all));
  }
  std::ranges::sort(all, {}, &logical_tensor::name);
  if (const auto twice = std::ranges::adjacent_find(all, {}, &logical_tensor::name);
      twice != all.end())
    return fail(errc::malformed, shown(c.root) + ": tensor " + shown(twice->name)
                                   + ": is there encoded and plain; write the checkpoint again");
  return all;
}

} // namespace viva::formats
