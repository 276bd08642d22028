#include "actors/plan_scaling.hpp"

#include "kernels/awq.hpp"

#include <algorithm>
#include <set>

namespace viva::actors {

using formats::tensor_ref;

namespace {

std::uint64_t row_bytes(const work_tensor& t) {
  return t.cols * kernels::bytes_of(t.source.type);
}

/// Adds a fold's scaling and marks the tensors that have to do with it.
void add_scaling(plan& p, const formats::scale_fold& fold, const tensor_places& places,
                 const channel_statistics& inputs) {
  const auto index = static_cast<std::uint32_t>(p.scalings.size());
  scaling made{.weights = {}, .divided = places.at(fold.divided), .plus = fold.plus, .rows = 0,
               .cols = fold.columns, .inputs = inputs};
  for (const auto ref : fold.weights) {
    const auto t = places.at(ref);
    made.weights.push_back(t);
    made.rows += p.tensors[t].rows;
    p.tensors[t].columns_by = index;
  }
  p.tensors[made.divided].rows_by = index;
  if (fold.bias)
    p.tensors[places.at(*fold.bias)].rows_by = index;
  for (const auto ref : {std::optional(fold.divided), fold.bias})
    if (auto* fed = ref ? &p.tensors[places.at(*ref)] : nullptr; fed != nullptr && !fed->target)
      fed->note = "divided by the scales of what it feeds";
  p.scalings.push_back(std::move(made));
}

} // namespace

expected<formats::scale_folds> find_folds(const formats::checkpoint& c,
                                          std::span<const weighed_choice> choices) {
  std::vector<formats::choice> scaled;
  std::vector<tensor_ref> silent;
  for (const auto& each : choices) {
    if (!each.inputs || !kernels::awq::scales_columns(each.what.recipe))
      continue;
    if (each.inputs->measured)
      scaled.push_back(each.what);
    else
      silent.push_back(each.what.source);
  }
  if (scaled.empty() && silent.empty())
    return formats::scale_folds{};
  auto found = formats::find_scale_folds(c, scaled);
  if (!found)
    return found;
  for (const auto ref : silent)
    found->unscaled[ref] = "clipped only: nothing reached it when the statistics were measured";
  return found;
}

void add_encode_shards(plan& p, std::uint32_t tensor, std::uint64_t shard_bytes_max) {
  const auto& t = p.tensors[tensor];
  const auto grain = t.target->row->shape(*t.target, t.cols).rows_grain;
  add_shards(p, task::encode, tensor, row_bytes(t), grain, shard_bytes_max);
}

void add_scalings(plan& p, const formats::scale_folds& found,
                  std::span<const weighed_choice> choices, const tensor_places& places,
                  std::uint64_t shard_bytes_max) {
  std::map<tensor_ref, channel_statistics> inputs;
  for (const auto& each : choices)
    inputs[each.what.source] = each.inputs;
  for (const auto& fold : found.folds)
    add_scaling(p, fold, places, inputs.at(fold.weights.front()));
  for (const auto& [ref, why] : found.unscaled)
    p.tensors[places.at(ref)].note = why;

  std::set<std::uint32_t> planned; // tensors whose encode shards are there
  const auto searched = [&](std::uint32_t scaling, std::uint32_t last) {
    return scaling == work_tensor::no_group || scaling <= last;
  };
  for (std::uint32_t i = 0; i < p.scalings.size(); ++i) {
    const auto scaling = p.scalings[i]; // add_shards changes the plan
    for (const auto what : {task::shares, task::losses})
      for (const auto t : scaling.weights)
        add_shards(p, what, t, row_bytes(p.tensors[t]), 1, shard_bytes_max);
    auto touched = scaling.weights;
    touched.push_back(scaling.divided);
    for (const auto t : touched) {
      const auto& tensor = p.tensors[t];
      if (tensor.target && searched(tensor.columns_by, i) && searched(tensor.rows_by, i)
          && planned.insert(t).second)
        add_encode_shards(p, t, shard_bytes_max);
    }
  }
  for (std::uint32_t t = 0; t < p.tensors.size(); ++t)
    if (const auto& fed = p.tensors[t]; fed.rows_by != work_tensor::no_group && !fed.target)
      add_shards(p, task::fold, t, 1, fed.rows, shard_bytes_max);
}

} // namespace viva::actors
