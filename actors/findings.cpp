#include "actors/findings.hpp"

#include "actors/survey_bytes.hpp"
#include "kernels/bytes.hpp"

#include <charconv>

namespace viva::actors {
namespace {

/// A flat position in `tensor`, in digits alone; nothing for anything else.
std::optional<std::uint64_t> position_of(const work_tensor& tensor, std::string_view digits) {
  std::uint64_t at = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, problem] = std::from_chars(digits.data(), end, at);
  return problem == std::errc{} && stop == end && at < tensor.rows * tensor.cols
           ? std::optional{at}
           : std::nullopt;
}

bool are_varints(std::string_view bytes, std::uint64_t count) {
  for (std::uint64_t i = 0, value = 0; i < count; ++i)
    if (!kernels::take_varint(bytes, value))
      return false;
  return bytes.empty();
}

} // namespace

bool findings_make_sense(const plan& work, std::uint32_t s, std::string_view told) {
  const auto& shard = work.shards[s];
  const auto& tensor = work.tensors[shard.tensor];
  switch (shard.what) {
    case task::scan:
      return told.empty() || position_of(tensor, told);
    case task::survey: {
      kernels::survey seen;
      return decode_survey(told, seen);
    }
    case task::shares:
      return are_varints(told, work.scalings[tensor.columns_by].cols);
    case task::losses: {
      kernels::awq::loss_sums sums;
      return kernels::awq::loss_sums::decode(told, sums);
    }
    case task::encode:
    case task::measure: {
      kernels::error_sums sums;
      return kernels::error_sums::decode(told, sums);
    }
    case task::fold:
    case task::decode:
    case task::copy:
      return told.empty();
  }
  return false;
}

findings_book::findings_book(const plan& work, const workplace* sources)
    : x_work(&work), x_sources(sources), x_scales(work), x_groups(work.groups.size()),
      x_measured(work.tensors.size()), x_numbers(work.tensors.size()),
      x_errors(work.tensors.size()), x_not_finite_at(work.tensors.size()) {
  for (std::uint32_t s = 0; s < work.shards.size(); ++s) {
    const auto& shard = work.shards[s];
    const auto group = work.tensors[shard.tensor].group;
    if (shard.what == task::encode || shard.what == task::measure)
      ++x_measured[shard.tensor].shards_left;
    if (waits_for_survey(s))
      x_groups[group].held.push_back(s);
    else if (group != work_tensor::no_group)
      ++x_groups[group].shards_left;
  }
}

std::vector<std::uint32_t> findings_book::held() const {
  auto all = x_scales.held();
  for (const auto& group : x_groups)
    all.insert(all.end(), group.held.begin(), group.held.end());
  return all;
}

bool findings_book::waits_for_survey(std::uint32_t s) const {
  const auto& shard = x_work->shards[s];
  return x_work->tensors[shard.tensor].group != work_tensor::no_group
         && shard.what != task::survey;
}

bool findings_book::take(std::uint32_t s, const std::string& told,
                         std::vector<std::uint32_t>& released) {
  const auto& shard = x_work->shards[s];
  switch (shard.what) {
    case task::scan:
      return take_position(shard.tensor, told);
    case task::survey:
      return take_survey(x_work->tensors[shard.tensor].group, told, released);
    case task::shares:
    case task::losses:
      return x_sources != nullptr && x_scales.take(s, told, *x_sources, released);
    case task::encode:
    case task::measure:
      return take_sums(shard.tensor, told);
    case task::fold:
    case task::decode:
    case task::copy:
      return true;
  }
  return false;
}

bool findings_book::take_position(std::uint32_t tensor, const std::string& told) {
  if (told.empty())
    return true;
  const auto& where = x_work->tensors[tensor];
  const auto at = position_of(where, told);
  if (!at)
    return false;
  auto& first = x_not_finite_at[tensor];
  if (first.empty() || *at < position_of(where, first))
    first = told;
  return true;
}

// The last shard of a survey gives its tensors their numbers and lets their shards go.
bool findings_book::take_survey(std::uint32_t index, const std::string& told,
                                std::vector<std::uint32_t>& released) {
  kernels::survey seen;
  if (!decode_survey(told, seen))
    return false;
  auto& group = x_groups[index];
  group.seen.merge(seen);
  if (--group.shards_left > 0)
    return true;
  for (const auto t : x_work->groups[index]) {
    const auto& target = *x_work->tensors[t].target;
    x_numbers[t] = target.row->survey_finish(target, group.seen);
  }
  released.insert(released.end(), group.held.begin(), group.held.end());
  return true;
}

// Sums are 64 KiB a tensor, metrics a few numbers: they are folded as soon as the tensor is whole.
bool findings_book::take_sums(std::uint32_t tensor, const std::string& told) {
  auto& measured = x_measured[tensor];
  kernels::error_sums sums;
  if (!kernels::error_sums::decode(told, sums))
    return false;
  measured.sums.merge(sums);
  if (--measured.shards_left > 0)
    return true;
  x_errors[tensor] = kernels::finish(measured.sums);
  measured.sums = {};
  return true;
}

} // namespace viva::actors
