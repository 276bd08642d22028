#include "actors/plan_scaling.hpp"
#include "actors/selection.hpp"
#include "actors/version.hpp"
#include "formats/fused.hpp"
#include "formats/module_names.hpp"
#include "formats/shown.hpp"
#include "formats/statistics.hpp"
#include "kernels/awq.hpp"
#include "kernels/channels.hpp"

#include <algorithm>
#include <set>

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

/// Refuses statistics that would change no byte: whoever gives them means them to count.
expected<void> check_weighed(const quantize_spec& spec,
                             std::span<const formats::choice> choices) {
  const auto weighed = [](const formats::choice& each) {
    return kernels::weighs_channels(each.recipe) || kernels::awq::scales_columns(each.recipe);
  };
  if (spec.stats.empty() || choices.empty() || std::ranges::any_of(choices, weighed))
    return {};
  return fail(errc::bad_option,
              formats::shown(spec.stats) + ": method " + choices.front().recipe.name()
                + " does not look at statistics; leave --stats out, or take awq, int4:search, "
                  "nvfp4-four-or-six, q4_0, q4_1, q5_0, q5_1 or one that begins with sparse24");
}

/// What is known of the inputs of each choice, by the statistics file, where there is one.
expected<std::vector<weighed_choice>> weigh(const formats::checkpoint& c,
                                            const quantize_spec& spec,
                                            const std::vector<formats::choice>& choices) {
  std::vector<weighed_choice> result;
  for (const auto& each : choices)
    result.push_back({each, nullptr});
  if (spec.stats.empty())
    return result;
  const auto file = formats::statistics::open(spec.stats);
  if (!file)
    return tl::unexpected(file.error());
  for (auto& each : result) {
    const auto& from = each.what.source;
    const auto& entry = c.files[from.file].header.tensors[from.tensor];
    auto known = file->of(formats::module_of(entry.name), entry.shape[1]);
    if (!known)
      return fail(known.error().code,
                  known.error().text + "; leave " + formats::shown(entry.name)
                    + " out with --exclude, or give statistics of this model");
    each.inputs = std::make_shared<const formats::channel_statistics>(std::move(*known));
    each.what.recipe.channels = each.inputs->mean_square;
  }
  return result;
}

work_tensor work_on(const formats::checkpoint& c, const weighed_choice& weighed) {
  const auto& choice = weighed.what;
  const auto& entry = c.files[choice.source.file].header.tensors[choice.source.tensor];
  work_tensor result;
  result.name = entry.name;
  result.dtype = entry.dtype;
  result.shape = entry.shape;
  result.rows = entry.shape[0];
  result.cols = entry.shape[1];
  result.source = {.file = choice.source.file, .type = *dtype_of(entry.dtype),
                   .begin = entry.begin, .recipe = {}, .numbers = {}, .planes = {},
                   .transposed = {}, .scales = {}};
  result.target = choice.recipe;
  result.inputs = weighed.inputs;
  return result;
}

/// A tensor that is copied, or written after it was divided.
work_tensor copy_of(const formats::tensor_entry& entry, std::uint32_t file, placement where) {
  work_tensor copy;
  copy.name = entry.name;
  copy.dtype = entry.dtype;
  copy.shape = entry.shape;
  copy.rows = entry.bytes();
  copy.cols = 1;
  copy.source.file = file;
  copy.source.begin = entry.begin;
  copy.source.type = dtype_of(entry.dtype).value_or(kernels::dtype::f32);
  copy.out = {where};
  copy.output_bytes = entry.bytes();
  return copy;
}

/// What the folds divide and no choice encodes: norms and biases.
std::set<tensor_ref> divided_by(const formats::scale_folds& found, const tensor_places& encoded) {
  std::set<tensor_ref> all;
  for (const auto& fold : found.folds) {
    if (!encoded.contains(fold.divided))
      all.insert(fold.divided);
    if (fold.bias)
      all.insert(*fold.bias);
  }
  return all;
}

/// Fills `out` of every encoded tensor, and adds one tensor for each that is copied or, without
/// shards yet, divided. `places` has the encoded ones, and gets the divided.
void place(plan& p, const formats::checkpoint& c, tensor_places& places,
           const std::set<tensor_ref>& divided, const quantize_spec& spec) {
  for (std::uint32_t f = 0; f < p.output.files.size(); ++f)
    for (const auto& out : p.output.files[f].tensors) {
      const placement where{f, out.entry.begin};
      const auto found = places.find(out.source);
      using kind = formats::out_tensor::kind;
      if (out.what == kind::copy) {
        const auto index = static_cast<std::uint32_t>(p.tensors.size());
        p.tensors.push_back(copy_of(c.files[out.source.file].header.tensors[out.source.tensor],
                                    out.source.file, where));
        if (divided.contains(out.source))
          places[out.source] = index;
        else
          add_shards(p, task::copy, index, 1, 1, spec.limits.shard_bytes_max);
        continue;
      }
      if (found == places.end())
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

/// Survey and encode shards of the first `count` tensors, but those that are scaled.
void add_plain_shards(plan& p, std::size_t count, std::uint64_t shard_bytes_max) {
  std::map<std::string, std::uint32_t> groups;
  for (std::uint32_t t = 0; t < count; ++t) {
    const auto& tensor = p.tensors[t];
    if (tensor.columns_by != work_tensor::no_group || tensor.rows_by != work_tensor::no_group)
      continue;
    if (tensor.target->row->survey_run != nullptr) {
      const auto grain = tensor.target->row->shape(*tensor.target, tensor.cols).rows_grain;
      join_group(p, t, groups);
      add_shards(p, task::survey, t, tensor.cols * kernels::bytes_of(tensor.source.type), grain,
                 shard_bytes_max);
    }
    add_encode_shards(p, t, shard_bytes_max);
  }
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
    if (tensor.inputs)
      for (const auto* known : {&tensor.inputs->mean_square, &tensor.inputs->mean_abs})
        all.append(reinterpret_cast<const char*>(known->data()), known->size() * sizeof(float));
  print["statistics"] = all.empty() ? "none" : digest(all);
  all.clear();
  for (const auto& scaling : p.scalings)
    all += p.tensors[scaling.divided].name + " " + p.tensors[scaling.weights.front()].name + "\n";
  print["scaled columns"] = all.empty() ? "none" : digest(all);
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
  if (auto counts = check_weighed(spec, *choices); !counts && kept.empty()) // all were chosen
    return tl::unexpected(counts.error());
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
  const auto weighed = weigh(c, spec, *choices);
  if (!weighed)
    return tl::unexpected(weighed.error());
  const auto folds = find_folds(c, *weighed);
  if (!folds)
    return tl::unexpected(folds.error());
  auto output = formats::lay_out(c, *choices, p.layout, version, folds->folds);
  if (!output)
    return tl::unexpected(output.error());
  p.output = std::move(*output);
  tensor_places places;
  for (const auto& each : *weighed) {
    places[each.what.source] = static_cast<std::uint32_t>(p.tensors.size());
    p.tensors.push_back(work_on(c, each));
  }
  place(p, c, places, divided_by(*folds, places), spec);
  add_scalings(p, *folds, *weighed, places, spec.limits.shard_bytes_max);
  add_plain_shards(p, choices->size(), spec.limits.shard_bytes_max);
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
    p.tensors.push_back(work_on(c, {choice, nullptr}));
    const auto& tensor = p.tensors.back();
    add_shards(p, task::scan, static_cast<std::uint32_t>(p.tensors.size() - 1),
               tensor.cols * kernels::bytes_of(tensor.source.type), 1,
               spec.limits.shard_bytes_max);
  }
  return p;
}

} // namespace viva::actors
