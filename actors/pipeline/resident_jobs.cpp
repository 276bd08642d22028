#include "actors/pipeline/resident_jobs.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace viva::actors {
namespace {

class resident_rounds : public shard_rounds {
public:
  resident_rounds(order what, const resident_place& place, std::shared_ptr<resident_tensor> tensor)
      : shard_rounds(std::move(what), tensor->rows.size(), place.work), x_tensor(std::move(tensor)),
        x_place(place) {
  }
  using shard_rounds::start;

protected:
  std::size_t lane_of(std::size_t shard) const override {
    return shard % x_place.lanes; // of a process the first seat alone: one at a time
  }
  expected<remote_order> ask(unsigned round, std::size_t shard, std::uint64_t life) override {
    auto& request = x_requests[shard];
    if (auto fine = request.begin(life); !fine)
      return without_words(std::move(fine.error()));
    if (auto fine = want(round, shard, request); !fine)
      return tl::unexpected(fine.error());
    if (!request.reads.empty())
      return remote_order{};
    if (request.what.order.steps.empty()) {
      request = {};
      return end(round, shard, {}).map([](const auto&) { return remote_order{}; });
    }
    return request.what; // its memory stays with the request until that is settled
  }
  bool must_read(std::size_t shard) const override {
    return !x_requests[shard].reads.empty();
  }
  void read(std::size_t shard, std::function<bool()> wanted,
            std::function<void()> then) override {
    x_place.store->read(x_requests[shard], std::move(wanted), std::move(then));
  }
  std::optional<expected<unit_tally>> settle(unsigned round, std::size_t shard,
                                             const tensor_receipt& got) override {
    const auto& steps = x_requests[shard].what.order.steps;
    const auto why = problem_of(got, steps.size());
    const auto surveys
      = std::ranges::count(steps, shard_step::kind::survey, &shard_step::what);
    if (!why || (*why && got.seen.size() != static_cast<std::size_t>(surveys)))
      return {};
    if (!*why)
      return refuse(*why, shard);
    x_requests[shard].done();
    auto came = end(round, shard, got);
    x_requests[shard] = {}; // with the memory that was made for this once
    return came;
  }
  /// A lane process is asked for it; nothing was missing where no step was added.
  virtual expected<void> want(unsigned round, std::size_t shard, resident_request&) = 0;
  /// All that was asked for is there; without steps of a survey nothing was seen.
  virtual expected<unit_tally> end(unsigned round, std::size_t shard, const tensor_receipt&) = 0;

  tl::unexpected<error> refuse(status why, std::size_t shard) const {
    const auto cols = x_tensor->shape.cols;
    why.position += x_tensor->rows[shard].first * cols;
    return tl::unexpected(name_problem(why, x_tensor->how, cols, name()));
  }
  unit_tally tally(std::size_t shard) const {
    const auto values = x_tensor->rows[shard].count * x_tensor->shape.cols;
    return {shard == 0 ? 1u : 0u, values * kernels::bytes_of(x_tensor->shape.type), values,
            x_tensor->is_encoded() ? x_tensor->how.row->name : "put"};
  }
  void drop_requests() noexcept {
    std::vector<resident_request>().swap(x_requests);
  }
  const std::shared_ptr<resident_tensor> x_tensor;
  const resident_place x_place;

private:
  std::vector<resident_request> x_requests{x_tensor->rows.size()};
};

enum : unsigned { survey_round, last_round };

class build_job final : public resident_rounds {
public:
  build_job(order what, const resident_place& place, std::shared_ptr<resident_tensor> tensor,
            answer_to<tensor_id> to)
      : resident_rounds(std::move(what), place, std::move(tensor)), x_answer(std::move(to)),
        x_seen(x_tensor->rows.size()), x_entry(resident_store::place_for(x_tensor)) {
  }
  unsigned first_round() const {
    return x_tensor->is_encoded() && x_tensor->how.row->survey_run != nullptr ? survey_round
                                                                             : last_round;
  }

private:
  expected<unit_tally> run(unsigned round, std::size_t shard, const lane_floor& floor) override {
    if (round == last_round) {
      const auto made = x_tensor->need(shard, floor);
      return made ? expected<unit_tally>(tally(shard)) : tl::unexpected(made.error());
    }
    const auto rows = x_tensor->parent->need_rows(shard, floor);
    if (!rows)
      return tl::unexpected(rows.error());
    kernels::survey seen;
    const auto done = survey_rows(x_tensor->how, *rows, {0, rows->rows}, seen, floor);
    x_tensor->parent->leave_shelf(shard, floor);
    if (!done)
      return refuse(done, shard);
    x_seen[shard] = seen;
    return unit_tally{};
  }
  expected<void> want(unsigned round, std::size_t shard, resident_request& asked) override {
    if (round == last_round)
      return x_tensor->need(shard, asked).map([](const auto&) {});
    const auto at = x_tensor->parent->need(shard, asked);
    if (!at)
      return tl::unexpected(at.error());
    auto step = x_tensor->parent->step_on(*at, shard);
    step.what = shard_step::kind::survey;
    step.method = x_tensor->how.name();
    asked.what.order.steps.push_back(std::move(step));
    return {};
  }
  expected<unit_tally> end(unsigned round, std::size_t shard, const tensor_receipt& got) override {
    if (round == last_round)
      return tally(shard);
    x_seen[shard] = got.seen.front();
    return unit_tally{};
  }
  bool round_done(unsigned round) override {
    if (round == last_round)
      return false;
    kernels::survey all;
    for (const auto& each : x_seen)
      all.merge(each);
    x_tensor->numbers = x_tensor->how.row->survey_finish(x_tensor->how, all);
    return true;
  }
  void deliver(std::optional<error> why) override {
    drop_requests();
    if (why) {
      x_tensor->dropped = true;
      forget_resident(x_place, x_tensor);
      return x_answer->set(tl::unexpected(std::move(*why)));
    }
    x_place.store->add(std::move(x_entry));
    x_answer->set(tensor_id{x_tensor->number, x_tensor->source().number});
  }

  const answer_to<tensor_id> x_answer;
  std::vector<kernels::survey> x_seen;
  resident_store::place x_entry;
};

class fetch_job final : public resident_rounds {
public:
  fetch_job(order what, const resident_place& place, std::shared_ptr<resident_tensor> tensor,
            budget::lease lease, answer_to<encoded> to)
      : resident_rounds(std::move(what), place, std::move(tensor)),
        x_result(std::in_place, x_tensor->how, x_tensor->shape.rows, x_tensor->shape.cols),
        x_lease(std::make_shared<budget::lease>(std::move(lease))), x_answer(std::move(to)) {
    x_result->numbers = x_tensor->numbers;
  }

private:
  expected<unit_tally> run(unsigned, std::size_t shard, const lane_floor& floor) override {
    const auto bytes = x_tensor->need(shard, floor);
    if (!bytes)
      return tl::unexpected(bytes.error());
    bring(shard, (*bytes)->data(), [&](std::size_t p) { return x_tensor->plane_offset(p, shard); });
    x_tensor->leave_shelf(shard, floor);
    return unit_tally{};
  }
  expected<void> want(unsigned, std::size_t shard, resident_request& asked) override {
    return x_tensor->need(shard, asked).map([&](auto&& at) { x_places[shard] = std::move(at); });
  }
  expected<unit_tally> end(unsigned, std::size_t shard, const tensor_receipt&) override {
    const auto map = x_tensor->map_of(shard);
    const auto at = std::exchange(x_places[shard], {});
    bring(shard, at.region->data() + at.offset, [&](std::size_t p) { return map.offset[p]; });
    return unit_tally{};
  }
  template <class PlaneOffset>
  void bring(std::size_t shard, const std::byte* from, PlaneOffset plane_offset) {
    const auto& how = x_tensor->how;
    const auto cols = x_tensor->shape.cols;
    const auto [first, count] = x_tensor->rows[shard];
    const auto planes = how.row->shape(how, cols);
    for (std::size_t p = 0; p < planes.planes_count; ++p)
      if (shard == 0 || planes.planes[p].unit != kernels::plane::unit_kind::tensor) // all have that
        std::memcpy(x_result->data() + x_result->map().offset[p]
                      + planes.planes[p].offset(first, cols),
                    from + plane_offset(p), planes.planes[p].bytes(first, count, cols));
  }
  bool round_done(unsigned) override {
    return false;
  }
  void deliver(std::optional<error> why) override {
    drop_requests();
    std::vector<shared_table::place>().swap(x_places);
    if (!why)
      return x_answer->set(std::move(*x_result), std::move(x_lease));
    x_result.reset(); // the job may stay in line for long; what it held must not
    x_lease.reset();
    x_answer->set(tl::unexpected(std::move(*why)));
  }

  std::optional<encoded> x_result;
  std::vector<shared_table::place> x_places{x_tensor->rows.size()};
  std::shared_ptr<budget::lease> x_lease;
  const answer_to<encoded> x_answer;
};

class forget_job final : public resident_rounds {
public:
  using resident_rounds::resident_rounds;

private:
  expected<unit_tally> run(unsigned, std::size_t shard, const lane_floor& floor) override {
    floor.shelf().drop({x_tensor->number, shard});
    return unit_tally{};
  }
  expected<void> want(unsigned, std::size_t, resident_request&) override {
    return {}; // regions go with the tensor
  }
  expected<unit_tally> end(unsigned, std::size_t, const tensor_receipt&) override {
    return unit_tally{};
  }
  bool round_done(unsigned) override {
    return false;
  }
  void deliver(std::optional<error> why) override {
    if (why)
      x_place.store->put_back(x_tensor);
    else
      x_tensor->end_lease();
  }
};

} // namespace

std::shared_ptr<shard_rounds> build_resident(shard_rounds::order what, const resident_place& place,
                                             std::shared_ptr<resident_tensor> tensor,
                                             answer_to<tensor_id> to) {
  auto job = std::make_shared<build_job>(std::move(what), place, std::move(tensor), std::move(to));
  job->start(job->first_round());
  return job;
}

std::shared_ptr<shard_rounds> fetch_resident(shard_rounds::order what, const resident_place& place,
                                             std::shared_ptr<resident_tensor> tensor,
                                             budget::lease lease, answer_to<encoded> to) {
  auto job = std::make_shared<fetch_job>(std::move(what), place, std::move(tensor),
                                         std::move(lease), std::move(to));
  job->start(last_round);
  return job;
}

void forget_resident(const resident_place& place,
                     const std::shared_ptr<resident_tensor>& tensor) noexcept {
  if (place.shares)
    return tensor->leave_region();
  try {
    shard_rounds::order what;
    what.name = tensor->name;
    std::make_shared<forget_job>(std::move(what), place, tensor)->start(last_round);
  } catch (...) {
    place.store->put_back(tensor);
  }
}

} // namespace viva::actors
