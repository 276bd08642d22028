// Reading back bitsandbytes' LLM.int8: an I8 weight with an SCB beside it. The files say nothing of
// the type the weight had; where there is no note of ours it was f16, as bitsandbytes takes it.

#include "formats/dtype_names.hpp"
#include "formats/source_file.hpp"
#include "formats/stored_parts.hpp"

namespace viva::formats {

namespace {

constexpr std::string_view mark = ".SCB";

/// Refuses a weight_format that is not 0: rows one after the other.
expected<void> check_format(const file_parts& parts, const tensor_entry& format) {
  const auto source = source_file::open(parts.file.path);
  if (!source)
    return tl::unexpected(source.error());
  const auto bytes = source->read(format.begin, format.bytes());
  if (!bytes)
    return tl::unexpected(bytes.error());
  if (*bytes != std::string(1, '\0'))
    return fail(errc::unsupported,
                parts.at(format.name) + "is not 0; only weights stored by rows can be read");
  return {};
}

expected<void> claim_weight(file_parts& parts, const tensor_entry& codes, const tensor_entry& scb) {
  const auto note = parts.notes.find(codes.name);
  const auto noted = note == parts.notes.end() ? std::nullopt : source_type(note->second.dtype);
  const auto type = noted.value_or(kernels::dtype::f16);
  auto recipe = kernels::parse_recipe("llm-int8", type);
  if (!recipe)
    return tl::unexpected(recipe.error());
  if (const auto* format = parts.find(codes.name + "_format"); format != nullptr)
    if (auto good = check_format(parts, *format); !good)
      return good;
  logical_tensor weight;
  weight.name = codes.name;
  weight.shape = codes.shape;
  weight.dtype = header_name(type);
  weight.recipe = *recipe;
  weight.layout = "bitsandbytes";
  const part planes[] = {{codes.name, "I8"}, {scb.name, "F32"}};
  const part sides[] = {{codes.name + "_format", "U8"}};
  return claim(parts, std::move(weight), planes, sides);
}

} // namespace

expected<void> claim_llm_int8(file_parts& parts) {
  for (const auto& entry : parts.file.header.tensors) {
    if (!entry.name.ends_with(mark))
      continue;
    const auto* codes =
        parts.find(entry.name.substr(0, entry.name.size() - mark.size()) + ".weight");
    if (codes == nullptr || codes->dtype != "I8")
      continue;
    if (auto done = claim_weight(parts, *codes, entry); !done)
      return done;
  }
  return {};
}

} // namespace viva::formats
