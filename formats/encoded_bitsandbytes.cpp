// Reading back layout bitsandbytes: a weight with a quant_state beside it, ours or another tool's.

#include "formats/dtype_names.hpp"
#include "formats/json.hpp"
#include "formats/layout_rules.hpp"
#include "formats/shown.hpp"
#include "formats/source_file.hpp"
#include "formats/stored_parts.hpp"
#include "kernels/nf4_dq.hpp"

#include <cmath>
#include <cstring>

namespace viva::formats {

namespace {

constexpr std::string_view mark = ".quant_state.bitsandbytes__";
constexpr std::uint64_t state_bytes_max = 1 << 20;

/// What a quant_state says.
struct state {
  std::string quant_type, dtype;
  std::uint64_t block = 0;
  std::vector<std::uint64_t> shape;
  bool nested = false;
  std::uint64_t nested_block = 0;
  double offset = 0;
};

bool take(const nlohmann::json& from, const char* key, std::string& out) {
  const auto found = from.find(key);
  return found != from.end() && found->is_string() && (out = found->get<std::string>(), true);
}

bool take(const nlohmann::json& from, const char* key, std::uint64_t& out) {
  const auto found = from.find(key);
  return found != from.end() && found->is_number_unsigned()
         && (out = found->get<std::uint64_t>(), true);
}

/// False where a key is missing or has another type.
bool take_state(const nlohmann::json& from, state& out) {
  const auto shape = from.find("shape"), offset = from.find("nested_offset");
  if (!take(from, "quant_type", out.quant_type) || !take(from, "dtype", out.dtype)
      || !take(from, "blocksize", out.block) || shape == from.end() || !shape->is_array())
    return false;
  for (const auto& extent : *shape) {
    if (!extent.is_number_unsigned())
      return false;
    out.shape.push_back(extent.get<std::uint64_t>());
  }
  out.nested = offset != from.end();
  if (!out.nested)
    return true;
  if (!offset->is_number() || !take(from, "nested_blocksize", out.nested_block))
    return false;
  out.offset = offset->get<double>();
  return std::isfinite(out.offset);
}

expected<state> read_state(const file_parts& parts, const source_file& source,
                           const tensor_entry& entry) {
  if (entry.bytes() > state_bytes_max)
    return fail(errc::malformed, parts.at(entry.name) + "has " + std::to_string(entry.bytes())
                                     + " bytes, too many for a quant_state");
  const auto text = source.read(entry.begin, entry.bytes());
  if (!text)
    return tl::unexpected(text.error());
  const auto json = parse_object<nlohmann::json>(*text, parts.file.path / entry.name);
  state read;
  if (!json || !take_state(*json, read))
    return fail(errc::malformed,
                parts.at(entry.name)
                    + "is no quant_state of bitsandbytes; write the checkpoint again");
  return read;
}

/// Refuses a table of levels other than the one we decode by. torch rounds the last bits of the
/// dynamic map differently on different machines.
expected<void> check_map(const file_parts& parts, const source_file& source,
                         const std::string& name, const std::string& ours) {
  const auto* entry = parts.find(name);
  if (entry == nullptr)
    return {}; // `claim` says so
  const auto bytes = source.read(entry->begin, entry->bytes());
  if (!bytes)
    return tl::unexpected(bytes.error());
  bool equal = bytes->size() == ours.size();
  for (std::size_t i = 0; equal && i < ours.size(); i += sizeof(float)) {
    float theirs = 0, wanted = 0;
    std::memcpy(&theirs, bytes->data() + i, sizeof theirs);
    std::memcpy(&wanted, ours.data() + i, sizeof wanted);
    equal = std::abs(theirs - wanted) <= std::abs(wanted) * 0x1p-20f;
  }
  if (!equal)
    return fail(errc::unsupported,
                parts.at(name) + "is another table of levels than bitsandbytes'");
  return {};
}

/// What is unlike anything we can decode; empty where nothing is.
std::string foreign(const state& read, std::string_view ending) {
  if (ending != "nf4" || read.quant_type != "nf4")
    return "has the quant_type " + shown(read.quant_type) + "; only nf4 can be read";
  if (!source_type(read.dtype))
    return "has the dtype " + shown(read.dtype) + "; float32, float16 and bfloat16 can be read";
  if (read.nested && read.nested_block != kernels::nf4_dq::nested_blocks)
    return "has a nested_blocksize of " + std::to_string(read.nested_block)
           + "; only 256 can be read";
  return {};
}

expected<void> claim_weight(file_parts& parts, const source_file& source,
                            const tensor_entry& entry) {
  const auto cut = entry.name.find(mark);
  const auto name = entry.name.substr(0, cut);
  const auto read = read_state(parts, source, entry);
  if (!read)
    return tl::unexpected(read.error());
  const auto ending = std::string_view(entry.name).substr(cut + mark.size());
  if (const auto why = foreign(*read, ending); !why.empty())
    return fail(errc::unsupported, parts.at(entry.name) + why);
  logical_tensor weight;
  weight.name = name;
  weight.shape = read->shape;
  const auto type = *source_type(read->dtype);
  weight.dtype = header_name(type);
  weight.layout = "bitsandbytes";
  weight.numbers.values[0] = static_cast<float>(read->offset);
  auto recipe = kernels::parse_recipe(
      std::string(read->nested ? "nf4-dq" : "nf4") + ":block=" + std::to_string(read->block), type);
  if (!recipe)
    return fail(errc::unsupported, parts.at(entry.name) + recipe.error().text);
  weight.recipe = *recipe;
  std::vector<part> planes = {{name, {}}, {name + ".absmax", read->nested ? "U8" : "F32"}};
  std::vector<part> sides = {{entry.name, "U8"}, {name + ".quant_map", "F32"}};
  if (auto same = check_map(parts, source, name + ".quant_map", bitsandbytes::quant_map_bytes());
      !same)
    return same;
  if (read->nested) {
    planes.push_back({name + ".nested_absmax", "F32"});
    sides.push_back({name + ".nested_quant_map", "F32"});
    if (auto same = check_map(parts, source, name + ".nested_quant_map",
                              bitsandbytes::nested_quant_map_bytes());
        !same)
      return same;
  }
  return claim(parts, std::move(weight), planes, sides);
}

} // namespace

expected<void> claim_bitsandbytes(file_parts& parts) {
  std::vector<const tensor_entry*> states;
  for (const auto& entry : parts.file.header.tensors)
    if (entry.name.find(mark) != std::string::npos)
      states.push_back(&entry);
  if (states.empty())
    return {};
  const auto source = source_file::open(parts.file.path);
  if (!source)
    return tl::unexpected(source.error());
  for (const auto* entry : states)
    if (auto done = claim_weight(parts, *source, *entry); !done)
      return done;
  return {};
}

} // namespace viva::formats
