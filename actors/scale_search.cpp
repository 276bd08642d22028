#include "actors/scale_search.hpp"

#include "kernels/bytes.hpp"
#include "kernels/convert.hpp"

#include <algorithm>

namespace viva::actors {

namespace awq = kernels::awq;

namespace {

/// The scalings a shard waits for, besides its own search.
std::pair<std::uint32_t, std::uint32_t> scalings_of(const plan& work, const shard& s) {
  const auto& tensor = work.tensors[s.tensor];
  switch (s.what) {
    case task::losses: return {tensor.columns_by, work_tensor::no_group};
    case task::encode: return {tensor.columns_by, tensor.rows_by};
    case task::fold: return {work_tensor::no_group, tensor.rows_by};
    default: return {work_tensor::no_group, work_tensor::no_group};
  }
}

/// The values of a norm that is divided, in f32.
std::vector<float> values_of(const work_tensor& norm, const workplace& place) {
  std::vector<float> values(norm.rows / kernels::bytes_of(norm.source.type));
  kernels::load_f32(place.source(norm.source.file).data() + norm.source.begin, norm.source.type,
                    values.size(), values.data());
  return values;
}

} // namespace

bool fits(const plan& work, std::uint32_t s, const searched& told) {
  const auto& shard = work.shards[s];
  const auto [columns_by, rows_by] = scalings_of(work, shard);
  const auto are = [&](const searched::numbers& numbers, std::uint32_t scaling, std::size_t times) {
    return scaling == work_tensor::no_group
             ? numbers == nullptr
             : numbers && numbers->size() == times * work.scalings[scaling].cols;
  };
  return are(told.columns, columns_by, shard.what == task::losses ? awq::candidates : 1)
         && are(told.rows, rows_by, 1);
}

float fold_scale(float value, float scale, float plus, kernels::dtype type) noexcept {
  const float stored = kernels::rounded_to(folded(value, scale, plus), type);
  const float back = (value + plus) / (stored + plus);
  return kernels::is_finite(stored) && kernels::is_finite(back) && back > 0 ? back : 1.0f;
}

scale_search::scale_search(const plan& work) : x_work(&work), x_all(work.scalings.size()) {
  for (std::uint32_t s = 0; s < work.shards.size(); ++s) {
    const auto& shard = work.shards[s];
    const auto columns_by = work.tensors[shard.tensor].columns_by;
    if (shard.what == task::shares)
      ++x_all[columns_by].shares_left;
    if (shard.what == task::losses)
      ++x_all[columns_by].losses_left;
    const auto [first, second] = scalings_of(work, shard);
    for (const auto scaling : {first, second})
      if (scaling != work_tensor::no_group)
        x_all[scaling].waiting.push_back(s);
  }
}

std::vector<std::uint32_t> scale_search::held() const {
  std::vector<std::uint32_t> all;
  for (const auto& one : x_all)
    all.insert(all.end(), one.waiting.begin(), one.waiting.end());
  return all;
}

bool scale_search::ready(std::uint32_t s) const {
  const auto& shard = x_work->shards[s];
  const auto [first, second] = scalings_of(*x_work, shard);
  const auto done = [&](std::uint32_t scaling) {
    return scaling == work_tensor::no_group
           || (shard.what == task::losses ? x_all[scaling].candidates : x_all[scaling].scales);
  };
  return done(first) && done(second);
}

void scale_search::free_waiting(std::uint32_t scaling, std::vector<std::uint32_t>& freed) const {
  std::ranges::copy_if(x_all[scaling].waiting, std::back_inserter(freed),
                       [&](std::uint32_t s) { return ready(s); });
}

bool scale_search::add_shares(std::uint32_t scaling, std::string_view findings) {
  auto& one = x_all[scaling];
  const auto& of = x_work->scalings[scaling];
  one.share_sums.resize(of.cols);
  for (auto& sum : one.share_sums) {
    std::uint64_t found = 0;
    if (!kernels::take_varint(findings, found))
      return false;
    sum += found;
  }
  if (!findings.empty())
    return false;
  if (--one.shares_left > 0)
    return true;
  auto table = awq::make_scale_table(of.inputs->mean_abs, of.inputs->mean_square, one.share_sums,
                                     of.rows);
  one.candidates = std::make_shared<const std::vector<float>>(std::move(table.scales));
  one.share_sums = {};
  return true;
}

bool scale_search::add_losses(std::uint32_t scaling, std::string_view findings,
                              const workplace& place) {
  auto& one = x_all[scaling];
  const auto& of = x_work->scalings[scaling];
  awq::loss_sums sums;
  if (!one.candidates || !awq::loss_sums::decode(findings, sums))
    return false;
  one.losses.merge(sums);
  if (--one.losses_left > 0)
    return true;
  const auto best = static_cast<std::ptrdiff_t>(one.losses.best() * of.cols);
  std::vector<float> scales(one.candidates->begin() + best,
                            one.candidates->begin() + best + static_cast<std::ptrdiff_t>(of.cols));
  const auto& divided = x_work->tensors[of.divided];
  if (!divided.target) { // a norm, which is stored in its own type
    const auto values = values_of(divided, place);
    for (std::size_t k = 0; k < scales.size(); ++k)
      scales[k] = fold_scale(values[k], scales[k], of.plus, divided.source.type);
  }
  one.scales = std::make_shared<const std::vector<float>>(std::move(scales));
  return true;
}

bool scale_search::take(std::uint32_t s, std::string_view findings, const workplace& place,
                        std::vector<std::uint32_t>& freed) {
  const auto& shard = x_work->shards[s];
  const auto scaling = x_work->tensors[shard.tensor].columns_by;
  const bool shares = shard.what == task::shares;
  if (!(shares ? add_shares(scaling, findings) : add_losses(scaling, findings, place)))
    return false;
  auto& one = x_all[scaling];
  if ((shares ? one.shares_left : one.losses_left) > 0)
    return true;
  free_waiting(scaling, freed);
  if (one.scales)
    one.candidates = nullptr;
  return true;
}

searched scale_search::told_to(std::uint32_t s) const {
  const auto& shard = x_work->shards[s];
  const auto [columns_by, rows_by] = scalings_of(*x_work, shard);
  searched told;
  if (columns_by != work_tensor::no_group)
    told.columns =
        shard.what == task::losses ? x_all[columns_by].candidates : x_all[columns_by].scales;
  if (rows_by != work_tensor::no_group)
    told.rows = x_all[rows_by].scales;
  return told;
}

std::vector<std::pair<placement, std::string>> scale_search::texts() const {
  std::vector<std::pair<placement, std::string>> all;
  if (x_work == nullptr)
    return all;
  for (std::uint32_t f = 0; f < x_work->output.files.size(); ++f)
    for (const auto& late : x_work->output.files[f].scales)
      all.emplace_back(placement{f, late.offset}, formats::scales_text(*x_all[late.fold].scales));
  return all;
}

} // namespace viva::actors
