// The plans that read what we or others wrote: dequantize and compare.

#include "actors/plan.hpp"
#include "actors/version.hpp"
#include "formats/json.hpp"
#include "formats/note.hpp"
#include "formats/shown.hpp"

#include <algorithm>
#include <numeric>
#include <string_view>
#include <unordered_map>

namespace viva::actors {
namespace {

using formats::logical_tensor;

stored side_of(const logical_tensor& t, std::uint32_t first_file) {
  stored side;
  side.file = first_file + t.file;
  side.begin = t.begin;
  side.recipe = t.recipe;
  side.numbers = t.numbers;
  side.planes = t.planes;
  side.transposed = t.transposed;
  side.scales = t.scales;
  if (const auto type = dtype_of(t.dtype))
    side.type = *type;
  return side;
}

std::uint64_t values_of(const std::vector<std::uint64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), std::uint64_t{1}, std::multiplies<>{});
}

/// Rows and columns of any shape: the last dimension is the columns; a scalar is one by one.
std::pair<std::uint64_t, std::uint64_t> matrix_of(const std::vector<std::uint64_t>& shape) {
  const auto cols = shape.empty() ? 1 : shape.back();
  return {cols == 0 ? 0 : values_of(shape) / cols, cols};
}

/// As a matrix; a vector that was scaled is one value a row, as its scales are.
std::pair<std::uint64_t, std::uint64_t> matrix_of(const logical_tensor& t) {
  const auto [rows, cols] = matrix_of(t.shape);
  return t.scales.rows && t.shape.size() == 1 ? std::pair{cols, rows} : std::pair{rows, cols};
}

std::uint64_t grain_of(const stored& side, std::uint64_t cols) {
  return side.recipe ? side.recipe->row->shape(*side.recipe, cols).rows_grain : 1;
}

/// The safetensors name of what an encoded tensor is decoded to.
std::string decoded_name(const dequantize_spec& spec, const logical_tensor& t) {
  if (spec.dtype == "source")
    return t.dtype;
  return spec.dtype == "bf16" ? "BF16" : spec.dtype == "f16" ? "F16" : "F32";
}

/// config.json without its quantization_config.
expected<std::string> plain_config(const formats::checkpoint& c) {
  auto json = formats::parse_object<nlohmann::ordered_json>(c.config, c.root / "config.json");
  if (!json)
    return tl::unexpected(json.error());
  json->erase("quantization_config");
  return formats::text_of(*json, 2) + "\n";
}

using by_name = std::unordered_map<std::string_view, const logical_tensor*>;

/// Names are unique in a checkpoint; look-ups by them must not cost a walk each.
by_name names_of(const std::vector<logical_tensor>& all) {
  by_name result;
  for (const auto& t : all)
    result.emplace(t.name, &t);
  return result;
}

/// The logical tensors of each file.
std::vector<std::vector<const logical_tensor*>> by_file(const std::vector<logical_tensor>& all,
                                                        std::size_t files) {
  std::vector<std::vector<const logical_tensor*>> result(files);
  for (const auto& t : all)
    result[t.file].push_back(&t);
  return result;
}

/// One output file with the plain form of every logical tensor of a source file.
formats::out_file lay_plain(const formats::checkpoint_file& source,
                            const std::vector<const logical_tensor*>& tensors,
                            const dequantize_spec& spec) {
  std::vector<formats::tensor_entry> entries;
  for (const auto* t : tensors)
    entries.push_back({t->name, t->recipe ? decoded_name(spec, *t) : t->dtype, t->shape, 0, 0});
  auto metadata = source.header.metadata;
  metadata.erase(formats::note_key);
  metadata.erase(formats::scales_key);
  metadata["format"] = "pt";
  formats::out_file out;
  out.name = source.name;
  out.header = formats::lay_header(entries, metadata);
  out.bytes = entries.empty() ? out.header.size() : entries.back().end;
  for (auto& entry : entries) {
    formats::out_tensor tensor;
    tensor.entry = std::move(entry);
    out.tensors.push_back(std::move(tensor));
  }
  return out;
}

work_tensor decode_or_copy(const logical_tensor& t, const formats::tensor_entry& out,
                           std::uint32_t file) {
  work_tensor work;
  work.name = t.name;
  work.dtype = t.dtype;
  work.shape = t.shape;
  work.source = side_of(t, 0);
  work.out = {{file, out.begin}};
  work.output_bytes = out.bytes();
  if (t.recipe || t.scales.rows) {
    std::tie(work.rows, work.cols) = matrix_of(t);
    work.decoded = dtype_of(out.dtype);
  } else {
    work.rows = t.end - t.begin;
    work.cols = 1;
  }
  return work;
}

/// The files beside the weights: config and index are written anew, the rest is copied.
expected<void> lay_texts(plan& p, const formats::checkpoint& c) {
  if (!c.config.empty()) {
    auto config = plain_config(c);
    if (!config)
      return tl::unexpected(config.error());
    p.output.texts.push_back({"config.json", std::move(*config)});
  }
  if (!c.index.empty())
    p.output.texts.push_back({c.index, formats::index_text(p.output.files)});
  for (const auto& other : c.others)
    if (c.config.empty() || other != "config.json")
      p.output.copies.push_back(other);
  return {};
}

} // namespace

expected<plan> plan_dequantize(const formats::checkpoint& c, const dequantize_spec& spec) {
  constexpr std::string_view types[] = {"f32", "bf16", "f16", "source"};
  if (std::ranges::find(types, spec.dtype) == std::end(types))
    return fail(errc::bad_option,
                "dtype '" + spec.dtype + "' is not one of f32, bf16, f16, source");
  const auto logical = formats::read_logical(c);
  if (!logical)
    return tl::unexpected(logical.error());
  plan p;
  p.job = "dequantize";
  p.layout = "safetensors";
  p.source_root = c.root;
  p.output.folder = c.folder;
  note_sources(p, c);
  const auto in_file = by_file(*logical, c.files.size());
  for (std::uint32_t f = 0; f < c.files.size(); ++f) {
    p.output.files.push_back(lay_plain(c.files[f], in_file[f], spec));
    by_name named;
    for (const auto* t : in_file[f])
      named.emplace(t->name, t);
    p.output_bytes += p.output.files.back().bytes;
    for (const auto& out : p.output.files.back().tensors) {
      p.tensors.push_back(decode_or_copy(*named.at(out.entry.name), out.entry, f));
      const auto& work = p.tensors.back();
      const auto index = static_cast<std::uint32_t>(p.tensors.size() - 1);
      const auto width = work.decoded ? work.cols * kernels::bytes_of(*work.decoded) : 1;
      add_shards(p, work.decoded ? task::decode : task::copy, index, width,
                 work.decoded ? grain_of(work.source, work.cols) : 1, spec.limits.shard_bytes_max);
    }
  }
  if (auto texts = lay_texts(p, c); !texts)
    return tl::unexpected(texts.error());
  p.fingerprint["job"] = "dequantize";
  p.fingerprint["version"] = version;
  p.fingerprint["dtype"] = spec.dtype;
  p.fingerprint["shard_bytes"] = std::to_string(spec.limits.shard_bytes_max);
  p.fingerprint["shards"] = std::to_string(p.shards.size());
  return p;
}

expected<plan> plan_compare(const formats::checkpoint& a, const formats::checkpoint& b,
                            const compare_spec& spec) {
  const auto left = formats::read_logical(a), right = formats::read_logical(b);
  for (const auto* side : {&left, &right})
    if (!*side)
      return tl::unexpected(side->error());
  plan p;
  p.job = "compare";
  p.source_root = a.root;
  note_sources(p, a);
  const auto first_b = static_cast<std::uint32_t>(p.sources.size());
  note_sources(p, b);
  const auto in_left = names_of(*left), in_right = names_of(*right);
  const auto floating = [](const logical_tensor& t) { return t.recipe || dtype_of(t.dtype); };
  for (const auto& t : *left) {
    const auto found = in_right.find(t.name);
    const auto* other = found == in_right.end() ? nullptr : found->second;
    work_tensor work;
    work.name = t.name;
    work.dtype = t.dtype;
    work.shape = t.shape;
    work.source = side_of(t, 0);
    std::tie(work.rows, work.cols) =
        other != nullptr && other->scales.rows ? matrix_of(*other) : matrix_of(t);
    work.output_bytes = other != nullptr ? other->stored_bytes : 0;
    work.unmatched = other == nullptr || other->shape != t.shape;
    if (other == nullptr)
      work.note = "missing in " + formats::shown(b.root);
    else if (other->shape != t.shape)
      work.note = "shapes differ";
    else if (!floating(t) || !floating(*other))
      work.note = "not compared: no floating-point tensor";
    else
      work.other = side_of(*other, first_b);
    p.tensors.push_back(std::move(work));
    const auto& added = p.tensors.back();
    if (!added.other)
      continue;
    const auto grain = std::lcm(grain_of(added.source, added.cols),
                                grain_of(*added.other, added.cols));
    add_shards(p, task::measure, static_cast<std::uint32_t>(p.tensors.size() - 1), 4 * added.cols,
               grain, spec.limits.shard_bytes_max);
  }
  for (const auto& t : *right)
    if (!in_left.contains(t.name)) {
      work_tensor work;
      work.name = t.name;
      work.dtype = t.dtype;
      work.shape = t.shape;
      work.note = "missing in " + formats::shown(a.root);
      work.unmatched = true;
      p.tensors.push_back(std::move(work));
    }
  return p;
}

} // namespace viva::actors
