#include "actors/pipeline/tensor_job.hpp"

#include <algorithm>
#include <cstring>

namespace viva::actors {
namespace {

constexpr std::uint64_t shard_values = 512 << 10; // about a tenth of a millisecond of work

} // namespace

std::vector<row_run> cut_rows(std::uint64_t rows, std::uint64_t cols, std::uint64_t grain) {
  const auto step = std::max(grain, shard_values / cols / grain * grain);
  std::vector<row_run> runs;
  for (std::uint64_t at = 0; at < rows; at += step)
    runs.push_back({at, std::min(step, rows - at)});
  return runs;
}

tensor_job::tensor_job(order what, const kernels::recipe& how, const tensor_view& view,
                       std::shared_ptr<desk> work, std::size_t lanes,
                       std::shared_ptr<shared_table> shares, answer to)
    : shard_rounds(std::move(what),
                   cut_rows(view.rows, view.cols, how.row->shape(how, view.cols).rows_grain).size(),
                   std::move(work)),
      x_how(how), x_view(view), x_answer(std::move(to)),
      x_rows(cut_rows(view.rows, view.cols, how.row->shape(how, view.cols).rows_grain)),
      x_lanes(lanes), x_seen(x_rows.size()), x_shares(std::move(shares)) {
}

std::uint64_t tensor_job::bytes() const {
  const auto result = map_planes(x_how, x_view.rows, x_view.cols).total;
  const auto copy = x_shares ? bring_over_bytes(*x_shares, x_view) : 0;
  const auto together = copy != 0 ? 0 : together_bytes(x_how, x_view);
  return (x_shares ? 2 : 1) * result + copy + std::min(x_lanes, x_rows.size()) * together;
}

void tensor_job::begin(budget::lease lease) {
  start(x_how.row->survey_run != nullptr ? survey_round : encode_round, [&] {
    x_lease = std::make_shared<budget::lease>(std::move(lease));
    x_result.emplace(x_how, x_view.rows, x_view.cols);
    if (x_shares)
      if (auto fine = bring_over(); !fine)
        x_source = fail(fine.error().code, name() + ": " + fine.error().text);
  });
}

expected<void> tensor_job::bring_over() {
  auto planes = x_shares->make(x_result->map().total);
  if (!planes)
    return tl::unexpected(planes.error());
  x_planes = std::move(*planes);
  auto source = actors::bring_over(*x_shares, x_view);
  if (!source)
    return tl::unexpected(source.error());
  x_source = std::move(source);
  return {};
}

expected<unit_tally> tensor_job::run(unsigned round, std::size_t shard, const lane_floor& floor) {
  const auto rows = x_rows[shard];
  kernels::survey seen;
  const auto done = round == survey_round
                      ? survey_rows(x_how, x_view, rows, seen, floor)
                      : encode_rows(x_how, x_view, rows, x_result->numbers, x_result->map(),
                                    x_result->data(), floor);
  return note_shard(round, shard, done, seen);
}

expected<remote_order> tensor_job::ask(unsigned round, std::size_t shard, std::uint64_t) {
  if (!x_source)
    return tl::unexpected(x_source.error());
  const auto& [at, view] = *x_source;
  shard_step step;
  step.what = round == survey_round ? shard_step::kind::survey : shard_step::kind::encode;
  step.method = x_how.name();
  step.type = x_how.source;
  step.from = at.region->id;
  step.offset = at.offset;
  step.rows = view.rows;
  step.cols = view.cols;
  step.row_bytes = view.row_bytes;
  step.first = x_rows[shard].first;
  step.count = x_rows[shard].count;
  step.numbers = x_result->numbers;
  step.to = x_planes->id;
  remote_order asked{{}, {at.region, x_planes}};
  asked.order.steps.push_back(std::move(step));
  return asked;
}

std::optional<expected<unit_tally>> tensor_job::settle(unsigned round, std::size_t shard,
                                                       const tensor_receipt& got) {
  const auto why = problem_of(got, 1);
  if (!why || got.seen.size() != (round == survey_round ? 1u : 0u))
    return {};
  return note_shard(round, shard, *why, got.seen.empty() ? kernels::survey{} : got.seen[0]);
}

/// A shard's run is over, here or elsewhere.
expected<unit_tally> tensor_job::note_shard(unsigned round, std::size_t shard, const status& how,
                                            const kernels::survey& seen) {
  const auto rows = x_rows[shard];
  if (!how)
    return tl::unexpected(name_problem(how, x_how, x_view.cols, name()));
  if (round == survey_round) {
    x_seen[shard] = seen;
    return unit_tally{};
  }
  const auto values = rows.count * x_view.cols;
  return unit_tally{rows.first == 0 ? 1u : 0u, values * kernels::bytes_of(x_view.type), values,
                    x_how.row->name};
}

bool tensor_job::round_done(unsigned round) {
  if (round == encode_round)
    return false;
  kernels::survey all;
  for (const auto& each : x_seen)
    all.merge(each);
  x_result->numbers = x_how.row->survey_finish(x_how, all);
  return true;
}

void tensor_job::deliver(std::optional<error> why) {
  if (!why && x_planes)
    std::memcpy(x_result->data(), x_planes->data(), x_result->map().total);
  x_planes = nullptr;
  x_source = brought_view{};
  if (!why)
    return x_answer->set(std::move(*x_result), std::move(x_lease));
  x_result.reset(); // the job may stay in line for long; what it held must not
  x_lease.reset();
  x_answer->set(tl::unexpected(std::move(*why)));
}

} // namespace viva::actors
