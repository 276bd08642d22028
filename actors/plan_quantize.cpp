#include "actors/plan.hpp"
#include "actors/selection.hpp"
#include "actors/version.hpp"
#include "formats/fused.hpp"
#include "formats/module_names.hpp"
#include "formats/shown.hpp"
#include "formats/statistics.hpp"

#include <algorithm>

namespace viva::actors {
namespace {

using formats::tensor_ref;

std::string at(const formats::checkpoint& c, tensor_ref ref) {
  const auto& file = c.files[ref.file];
  return formats::shown(file.name) + ": tensor "
         + formats::shown(file.header.tensors[ref.tensor].name);
}

/// Every tensor to encode, with its recipe, in file order.
expected<std::vector<formats::choice>> choose(const formats::checkpoint& c,
                                              const quantize_spec& spec,
                                              const std::map<std::string, std::string>& kept) {
  const auto chosen = selection::of(spec);
  if (!chosen)
    return tl::unexpected(chosen.error());
  std::vector<formats::choice> result;
  for (std::uint32_t f = 0; f < c.files.size(); ++f)
    for (std::uint32_t t = 0; t < c.files[f].header.tensors.size(); ++t) {
      const auto& entry = c.files[f].header.tensors[t];
      const auto method = chosen->method_of(entry);
      if (method.empty() || kept.contains(entry.name))
        continue;
      auto recipe = kernels::parse_recipe(method, *dtype_of(entry.dtype));
      if (!recipe)
        return tl::unexpected(recipe.error());
      if (entry.shape[1] % recipe->cols_multiple() != 0)
        return fail(errc::bad_shape,
                    at(c, {f, t}) + " has " + std::to_string(entry.shape[1])
                      + " columns; method " + recipe->name() + " needs a multiple of "
                      + std::to_string(recipe->cols_multiple())
                      + ". Leave it out with --exclude, or give it another method with --rule");
      result.push_back({{f, t}, *recipe});
    }
  return result;
}

/// Keeps what an engine fuses with a weight that is kept, and says why.
void keep_fused(std::vector<formats::choice>& choices, const formats::checkpoint& c,
                std::map<std::string, std::string>& kept) {
  std::map<std::string, std::string> layers;
  for (const auto& [name, why] : kept)
    if (auto layer = formats::fused_layer(name); !layer.empty())
      layers.emplace(std::move(layer), name);
  std::erase_if(choices, [&](const formats::choice& each) {
    const auto& name = c.files[each.source.file].header.tensors[each.source.tensor].name;
    const auto found = layers.find(formats::fused_layer(name));
    if (found == layers.end())
      return false;
    kept[name] = "kept: engines fuse it with " + found->second;
    return true;
  });
}

using channels_of_choices = std::vector<std::shared_ptr<const std::vector<float>>>;

/// How much the columns of each choice matter, by the statistics file, where there is one.
expected<channels_of_choices> weigh(const formats::checkpoint& c, const quantize_spec& spec,
                                    std::vector<formats::choice>& choices) {
  channels_of_choices result(choices.size());
  if (spec.stats.empty())
    return result;
  const auto file = formats::statistics::open(spec.stats);
  if (!file)
    return tl::unexpected(file.error());
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const auto& from = choices[i].source;
    const auto& entry = c.files[from.file].header.tensors[from.tensor];
    auto known = file->of(formats::module_of(entry.name), entry.shape[1]);
    if (!known)
      return fail(known.error().code,
                  known.error().text + "; leave " + formats::shown(entry.name)
                    + " out with --exclude, or give statistics of this model");
    result[i] = std::make_shared<const std::vector<float>>(std::move(known->mean_square));
    choices[i].recipe.channels = *result[i];
  }
  return result;
}

work_tensor work_on(const formats::checkpoint& c, const formats::choice& choice) {
  const auto& entry = c.files[choice.source.file].header.tensors[choice.source.tensor];
  work_tensor result;
  result.name = entry.name;
  result.dtype = entry.dtype;
  result.shape = entry.shape;
  result.rows = entry.shape[0];
  result.cols = entry.shape[1];
  result.source = {.file = choice.source.file, .type = *dtype_of(entry.dtype),
                   .begin = entry.begin, .recipe = {}, .numbers = {}, .planes = {},
                   .transposed = {}};
  result.target = choice.recipe;
  return result;
}

/// Fills `out` of every encoded tensor, and adds one tensor for each that is copied.
void place(plan& p, const formats::checkpoint& c,
           const std::map<tensor_ref, std::uint32_t>& encoded, const quantize_spec& spec) {
  for (std::uint32_t f = 0; f < p.output.files.size(); ++f)
    for (const auto& out : p.output.files[f].tensors) {
      const placement where{f, out.entry.begin};
      const auto found = encoded.find(out.source);
      using kind = formats::out_tensor::kind;
      if (out.what == kind::copy) {
        const auto& entry = c.files[out.source.file].header.tensors[out.source.tensor];
        work_tensor copy;
        copy.name = entry.name;
        copy.dtype = entry.dtype;
        copy.shape = entry.shape;
        copy.rows = entry.bytes();
        copy.cols = 1;
        copy.source.file = out.source.file;
        copy.source.begin = entry.begin;
        copy.out = {where};
        copy.output_bytes = entry.bytes();
        p.tensors.push_back(std::move(copy));
        add_shards(p, task::copy, static_cast<std::uint32_t>(p.tensors.size() - 1), 1, 1,
                   spec.limits.shard_bytes_max);
        continue;
      }
      if (found == encoded.end())
        continue; // a constant that belongs to no tensor
      auto& tensor = p.tensors[found->second];
      tensor.output_bytes += out.entry.bytes();
      if (out.what == kind::plane) {
        tensor.out.resize(std::max<std::size_t>(tensor.out.size(), out.plane + 1));
        tensor.out[out.plane] = where;
        if (out.transposed != 0) {
          tensor.transposed.resize(kernels::planes_max);
          tensor.transposed[out.plane] = out.transposed;
        }
      } else if (out.what == kind::numbers) {
        const auto& entry = c.files[out.source.file].header.tensors[out.source.tensor];
        p.late.push_back({found->second, where, out, entry});
      }
    }
}

/// Puts a tensor into the group whose survey it shares: its fused layer's, where the method shares
/// its numbers, else one of its own. `known` are the groups of fused layers so far, in any file.
void join_group(plan& p, std::uint32_t t, std::map<std::string, std::uint32_t>& known) {
  auto& tensor = p.tensors[t];
  const auto fresh = static_cast<std::uint32_t>(p.groups.size());
  const auto layer =
      tensor.target->row->numbers_shared ? formats::fused_layer(tensor.name) : std::string{};
  tensor.group =
      layer.empty() ? fresh
                    : known.emplace(tensor.target->name() + " " + layer, fresh).first->second;
  if (tensor.group == fresh)
    p.groups.emplace_back();
  p.groups[tensor.group].push_back(t);
}

void settle_fingerprint(plan& p, const formats::checkpoint& c, const quantize_spec& spec) {
  auto& print = p.fingerprint;
  print["job"] = spec.job;
  print["version"] = version;
  print["layout"] = p.layout;
  print["shard_bytes"] = std::to_string(spec.limits.shard_bytes_max);
  print["shards"] = std::to_string(p.shards.size());
  std::map<std::string, std::string> methods;
  for (const auto& tensor : p.tensors)
    if (tensor.target)
      methods[tensor.name] = tensor.target->name();
  print["method"] = spec.method;
  std::string all;
  for (const auto& [name, method] : methods)
    all += name + "=" + method + "\n";
  print["tensors and their methods"] = digest(all);
  all.clear();
  for (const auto& tensor : p.tensors)
    if (tensor.channels)
      all.append(reinterpret_cast<const char*>(tensor.channels->data()),
                 tensor.channels->size() * sizeof(float));
  print["statistics"] = all.empty() ? "none" : digest(all);
  note_sources(p, c);
}

/// The layout asked for, or that of the first method; where every weight is kept, any will do.
std::string layout_of(std::span<const formats::choice> choices, const quantize_spec& spec) {
  if (!spec.layout.empty())
    return spec.layout;
  return choices.empty() ? "safetensors"
                         : std::string(formats::default_layout(*choices.front().recipe.row));
}

} // namespace

expected<plan> plan_quantize(const formats::checkpoint& c, const quantize_spec& spec,
                             const std::map<std::string, std::string>& kept_for_nan) {
  auto kept = kept_for_nan;
  auto choices = choose(c, spec, kept);
  if (!choices)
    return tl::unexpected(choices.error());
  if (choices->empty() && kept.empty())
    return fail(errc::bad_shape,
                formats::shown(c.root) + ": no tensor to " + spec.job
                  + ": it has no 2-D floating-point *.weight that --include, --exclude and"
                    " --rule leave over");
  plan p;
  p.job = spec.job;
  p.source_root = c.root;
  p.layout = layout_of(*choices, spec);
  if (formats::for_engines(p.layout))
    keep_fused(*choices, c, kept);
  const auto channels = weigh(c, spec, *choices);
  if (!channels)
    return tl::unexpected(channels.error());
  auto output = formats::lay_out(c, *choices, p.layout, version);
  if (!output)
    return tl::unexpected(output.error());
  p.output = std::move(*output);
  std::map<tensor_ref, std::uint32_t> encoded;
  for (const auto& choice : *choices) {
    encoded[choice.source] = static_cast<std::uint32_t>(p.tensors.size());
    p.tensors.push_back(work_on(c, choice));
    p.tensors.back().channels = (*channels)[p.tensors.size() - 1];
  }
  place(p, c, encoded, spec);
  std::map<std::string, std::uint32_t> groups;
  for (std::uint32_t t = 0; t < choices->size(); ++t) {
    const auto& tensor = p.tensors[t];
    const auto row_bytes = tensor.cols * kernels::bytes_of(tensor.source.type);
    const auto grain = tensor.target->row->shape(*tensor.target, tensor.cols).rows_grain;
    if (tensor.target->row->survey_run != nullptr) {
      join_group(p, t, groups);
      add_shards(p, task::survey, t, row_bytes, grain, spec.limits.shard_bytes_max);
    }
    add_shards(p, task::encode, t, row_bytes, grain, spec.limits.shard_bytes_max);
  }
  for (const auto& file : p.output.files)
    p.output_bytes += file.bytes;
  for (auto& tensor : p.tensors)
    if (const auto why = kept.find(tensor.name); why != kept.end())
      tensor.note = why->second;
  settle_fingerprint(p, c, spec);
  return p;
}

expected<plan> plan_scan(const formats::checkpoint& c, const quantize_spec& spec) {
  const auto choices = choose(c, spec, {});
  if (!choices)
    return tl::unexpected(choices.error());
  plan p;
  p.job = "scan";
  p.source_root = c.root;
  note_sources(p, c);
  for (const auto& choice : *choices) {
    p.tensors.push_back(work_on(c, choice));
    const auto& tensor = p.tensors.back();
    add_shards(p, task::scan, static_cast<std::uint32_t>(p.tensors.size() - 1),
               tensor.cols * kernels::bytes_of(tensor.source.type), 1,
               spec.limits.shard_bytes_max);
  }
  return p;
}

} // namespace viva::actors
