// The plans that read what we or others wrote: dequantize and compare.

#include "actors/plan.hpp"
#include "actors/version.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <numeric>

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

std::uint64_t grain_of(const stored& side, std::uint64_t cols) {
  return side.recipe ? side.recipe->row->shape(*side.recipe, cols).rows_grain : 1;
}

/// The safetensors name of what an encoded tensor is decoded to.
std::string decoded_name(const dequantize_spec& spec, const logical_tensor& t) {
  if (spec.dtype == "source")
    return t.dtype;
  return spec.dtype == "bf16" ? "BF16" : spec.dtype == "f16" ? "F16" : "F32";
}

/// config.json without its quantization_config; the text unchanged where there is none.
std::string plain_config(const std::string& text) {
  auto json = nlohmann::ordered_json::parse(text, nullptr, false);
  if (json.is_discarded() || !json.is_object())
    return text;
  json.erase("quantization_config");
  return json.dump(2) + "\n";
}

std::string index_text(const formats::out_checkpoint& output) {
  nlohmann::ordered_json index;
  std::uint64_t total = 0;
  std::map<std::string, std::string> where;
  for (const auto& file : output.files)
    for (const auto& t : file.tensors) {
      total += t.entry.bytes();
      where[t.entry.name] = file.name;
    }
  index["metadata"]["total_size"] = total;
  index["weight_map"] = where;
  return index.dump(2) + "\n";
}

/// One output file with the plain form of every logical tensor of a source file.
formats::out_file lay_plain(const formats::checkpoint_file& source, std::uint32_t file,
                            const std::vector<logical_tensor>& all, const dequantize_spec& spec) {
  std::vector<formats::tensor_entry> entries;
  for (const auto& t : all)
    if (t.file == file)
      entries.push_back({t.name, t.recipe ? decoded_name(spec, t) : t.dtype, t.shape, 0, 0});
  auto metadata = source.header.metadata;
  metadata.erase("viva");
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
  if (t.recipe) {
    std::tie(work.rows, work.cols) = matrix_of(t.shape);
    work.decoded = dtype_of(out.dtype);
  } else {
    work.rows = t.end - t.begin;
    work.cols = 1;
  }
  return work;
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
  for (std::uint32_t f = 0; f < c.files.size(); ++f) {
    p.output.files.push_back(lay_plain(c.files[f], f, *logical, spec));
    p.output_bytes += p.output.files.back().bytes;
    for (const auto& out : p.output.files.back().tensors) {
      const auto t = std::ranges::find_if(
        *logical, [&](const auto& l) { return l.file == f && l.name == out.entry.name; });
      p.tensors.push_back(decode_or_copy(*t, out.entry, f));
      const auto& work = p.tensors.back();
      const auto index = static_cast<std::uint32_t>(p.tensors.size() - 1);
      const auto width = work.decoded ? work.cols * kernels::bytes_of(*work.decoded) : 1;
      add_shards(p, work.decoded ? task::decode : task::copy, index, width,
                 work.decoded ? grain_of(work.source, work.cols) : 1, spec.limits.shard_bytes_max);
    }
  }
  if (c.folder && !c.config.empty())
    p.output.texts.push_back({"config.json", plain_config(c.config)});
  const bool indexed = c.files.size() > 1;
  if (indexed)
    p.output.texts.push_back({"model.safetensors.index.json", index_text(p.output)});
  for (const auto& other : c.others)
    if (other != "config.json" && !(indexed && other == "model.safetensors.index.json"))
      p.output.copies.push_back(other);
  p.fingerprint["job"] = "dequantize";
  p.fingerprint["version"] = version;
  p.fingerprint["dtype"] = spec.dtype;
  p.fingerprint["shard_bytes"] = std::to_string(spec.limits.shard_bytes_max);
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
  const auto floating = [](const logical_tensor& t) { return t.recipe || dtype_of(t.dtype); };
  for (const auto& t : *left) {
    const auto other = std::ranges::find(*right, t.name, &logical_tensor::name);
    work_tensor work;
    work.name = t.name;
    work.dtype = t.dtype;
    work.shape = t.shape;
    work.source = side_of(t, 0);
    std::tie(work.rows, work.cols) = matrix_of(t.shape);
    const bool here = other != right->end();
    work.output_bytes = here ? other->stored_bytes : 0;
    if (!here)
      work.note = "missing in " + b.root.string();
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
    if (std::ranges::find(*left, t.name, &logical_tensor::name) == left->end()) {
      work_tensor work;
      work.name = t.name;
      work.dtype = t.dtype;
      work.shape = t.shape;
      work.note = "missing in " + a.root.string();
      p.tensors.push_back(std::move(work));
    }
  return p;
}

} // namespace viva::actors
