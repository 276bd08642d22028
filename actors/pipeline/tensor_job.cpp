#include "actors/pipeline/tensor_job.hpp"

#include <algorithm>
#include <numeric>

namespace viva::actors {
namespace {

constexpr std::uint64_t shard_values = 512 << 10; // about a tenth of a millisecond of work

std::vector<row_run> cut(const tensor_order& order) {
  const auto grain = order.how.row->shape(order.how, order.view.cols).rows_grain;
  const auto step = std::max(grain, shard_values / order.view.cols / grain * grain);
  std::vector<row_run> runs;
  for (std::uint64_t at = 0; at < order.view.rows; at += step)
    runs.push_back({at, std::min(step, order.view.rows - at)});
  return runs;
}

} // namespace

class tensor_job::shard final : public unit {
public:
  shard(std::shared_ptr<tensor_job> job, std::size_t index, bool survey)
      : x_job(std::move(job)), x_index(index), x_survey(survey) {
    how_urgent = x_job->x_order.how_urgent;
  }
  bool begin() noexcept override {
    return x_job->begin_shard();
  }
  unit_tally run(const lane_floor& floor) override {
    return x_job->run_shard(x_index, x_survey, floor);
  }
  void finish() noexcept override {
    x_job->shard_done(x_index);
  }
  void lose() noexcept override {
    x_job->shard_lost();
  }
  void fail(const error& why, bool was_begun) noexcept override {
    x_job->shard_failed(why, was_begun);
  }

private:
  const std::shared_ptr<tensor_job> x_job;
  const std::size_t x_index;
  const bool x_survey;
};

tensor_job::tensor_job(tensor_order order, std::shared_ptr<desk> work, answer to)
    : x_order(std::move(order)), x_desk(std::move(work)), x_answer(std::move(to)),
      x_rows(cut(x_order)), x_status(x_rows.size()) {
}

std::uint64_t tensor_job::bytes_of(const tensor_order& order) {
  return map_planes(order.how, order.view.rows, order.view.cols).total;
}

void tensor_job::start(budget::lease lease) {
  std::unique_lock lock{x_guard};
  if (!lease)
    return stop(lock, error{errc::interrupted, x_order.name + ": the pipeline is closed"});
  if (x_answered)
    return; // withdrawn while it waited for room; the lease goes back
  x_lease = std::move(lease);
  x_result.emplace(x_order.how, x_order.view.rows, x_order.view.cols);
  lock.unlock();
  next_round(x_order.how.row->survey_run != nullptr);
}

void tensor_job::next_round(bool survey) {
  std::vector<unit_ptr> units;
  {
    const std::lock_guard lock{x_guard};
    x_surveying = survey;
    x_left = x_rows.size();
    if (survey)
      x_seen.resize(x_rows.size());
  }
  for (std::size_t i = 0; i < x_rows.size(); ++i)
    units.push_back(std::make_shared<shard>(shared_from_this(), i, survey));
  x_desk->submit(units);
}

bool tensor_job::begin_shard() {
  std::unique_lock lock{x_guard};
  if (!x_stopped && std::chrono::steady_clock::now() > x_order.until)
    x_stopped = {errc::timed_out, x_order.name + ": its deadline passed before a lane was free"};
  if (x_stopped) {
    settle(lock);
    return false;
  }
  ++x_running;
  return true;
}

unit_tally tensor_job::run_shard(std::size_t index, bool survey, const lane_floor& floor) {
  const auto& [how, view, name, how_urgent, until] = x_order;
  const auto rows = x_rows[index];
  if (survey) {
    kernels::survey seen;
    x_status[index] = survey_rows(how, view, rows, seen, floor);
    x_seen[index] = seen;
    return {};
  }
  x_status[index] =
    encode_rows(how, view, rows, x_result->numbers, x_result->map(), x_result->data(), floor);
  return {rows.first == 0 ? 1u : 0u, rows.count * view.cols * kernels::bytes_of(view.type)};
}

// The last shard of a round ends it; of several refused the first in the tensor is told, whatever
// the order in which they came home.
void tensor_job::shard_done(std::size_t) {
  std::unique_lock lock{x_guard};
  --x_running;
  --x_left;
  if (x_stopped || x_left != 0)
    return settle(lock);
  const auto bad = std::ranges::find_if(x_status, [](const status& s) { return !s; });
  if (bad != x_status.end())
    return stop(lock, name_problem(*bad, x_order.how, x_order.view.cols, x_order.name));
  if (!x_surveying)
    return settle(lock);
  kernels::survey all;
  for (const auto& each : x_seen)
    all.merge(each);
  x_result->numbers = x_order.how.row->survey_finish(x_order.how, all);
  lock.unlock();
  next_round(false);
}

void tensor_job::shard_lost() {
  const std::lock_guard lock{x_guard};
  --x_running;
}

void tensor_job::shard_failed(const error& why, bool begun) {
  std::unique_lock lock{x_guard};
  x_running -= begun ? 1 : 0;
  stop(lock, error{why.code, x_order.name + ": " + why.text});
}

void tensor_job::withdraw(errc why) {
  std::unique_lock lock{x_guard};
  stop(lock, error{why, x_order.name
                          + (why == errc::timed_out ? ": its deadline passed" : ": cancelled")});
}

void tensor_job::stop(std::unique_lock<std::mutex>& lock, std::optional<error> why) {
  if (!x_stopped)
    x_stopped = std::move(why);
  settle(lock);
}

// Answers once nobody works on it: with the result, or with why there is none.
void tensor_job::settle(std::unique_lock<std::mutex>& lock) {
  if (x_answered || x_running != 0 || (!x_stopped && x_left != 0))
    return;
  x_answered = true;
  auto result = x_stopped ? expected<encoded>(tl::unexpect, std::move(*x_stopped))
                          : expected<encoded>(std::move(*x_result));
  if (x_stopped)
    x_stopped.emplace(error{errc::interrupted, {}}); // shards still in line see it
  x_result.reset();
  auto held = result ? std::make_shared<budget::lease>(std::move(x_lease)) : nullptr;
  auto lease = std::move(x_lease); // of a job that failed: now
  lock.unlock();
  x_answer->set(std::move(result), std::move(held));
}

} // namespace viva::actors
