#include "actors/pipeline/tensor_job.hpp"

#include <algorithm>

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
                       std::shared_ptr<desk> work, answer to)
    : shard_rounds(std::move(what),
                   cut_rows(view.rows, view.cols, how.row->shape(how, view.cols).rows_grain).size(),
                   std::move(work)),
      x_how(how), x_view(view), x_answer(std::move(to)),
      x_rows(cut_rows(view.rows, view.cols, how.row->shape(how, view.cols).rows_grain)),
      x_seen(x_rows.size()) {
}

std::uint64_t tensor_job::bytes() const {
  return map_planes(x_how, x_view.rows, x_view.cols).total;
}

void tensor_job::begin(budget::lease lease) {
  if (!lease)
    return stop({errc::interrupted, name() + ": the pipeline is closed"});
  start(x_how.row->survey_run != nullptr ? survey_round : encode_round, [&] {
    x_lease = std::move(lease);
    x_result.emplace(x_how, x_view.rows, x_view.cols);
  });
}

expected<unit_tally> tensor_job::run(unsigned round, std::size_t shard, const lane_floor& floor) {
  const auto rows = x_rows[shard];
  kernels::survey seen;
  const auto done = round == survey_round
                      ? survey_rows(x_how, x_view, rows, seen, floor)
                      : encode_rows(x_how, x_view, rows, x_result->numbers, x_result->map(),
                                    x_result->data(), floor);
  if (!done)
    return tl::unexpected(name_problem(done, x_how, x_view.cols, name()));
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
  auto lease = std::move(x_lease);
  if (why)
    return x_answer->set(tl::unexpected(std::move(*why)));
  auto held = std::make_shared<budget::lease>(std::move(lease));
  x_answer->set(std::move(*x_result), std::move(held));
}

} // namespace viva::actors
