#include "actors/pipeline/resident_jobs.hpp"

#include <cstring>

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
    return shard % x_place.lanes;
  }
  unit_tally tally(std::size_t shard) const {
    const auto values = x_tensor->rows[shard].count * x_tensor->shape.cols;
    return {shard == 0 ? 1u : 0u, values * kernels::bytes_of(x_tensor->shape.type), values,
            x_tensor->is_encoded() ? x_tensor->how.row->name : "put"};
  }
  const std::shared_ptr<resident_tensor> x_tensor;
  const resident_place x_place;
};

enum : unsigned { survey_round, last_round };

class build_job final : public resident_rounds {
public:
  build_job(order what, const resident_place& place, std::shared_ptr<resident_tensor> tensor,
            answer_to<tensor_id> to)
      : resident_rounds(std::move(what), place, std::move(tensor)), x_answer(std::move(to)),
        x_seen(x_tensor->rows.size()) {
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
    auto done = survey_rows(x_tensor->how, *rows, {0, rows->rows}, seen, floor);
    done.position += x_tensor->rows[shard].first * rows->cols;
    if (!done)
      return tl::unexpected(name_problem(done, x_tensor->how, rows->cols, name()));
    x_seen[shard] = seen;
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
    if (why) {
      x_tensor->dropped = true;
      forget_resident(x_place, x_tensor);
      return x_answer->set(tl::unexpected(std::move(*why)));
    }
    x_place.store->add(x_tensor);
    x_answer->set(tensor_id{x_tensor->number});
  }

  const answer_to<tensor_id> x_answer;
  std::vector<kernels::survey> x_seen;
};

class fetch_job final : public resident_rounds {
public:
  fetch_job(order what, const resident_place& place, std::shared_ptr<resident_tensor> tensor,
            budget::lease lease, answer_to<encoded> to)
      : resident_rounds(std::move(what), place, std::move(tensor)),
        x_result(x_tensor->how, x_tensor->shape.rows, x_tensor->shape.cols),
        x_lease(std::make_shared<budget::lease>(std::move(lease))), x_answer(std::move(to)) {
    x_result.numbers = x_tensor->numbers;
  }

private:
  expected<unit_tally> run(unsigned, std::size_t shard, const lane_floor& floor) override {
    const auto bytes = x_tensor->need(shard, floor);
    if (!bytes)
      return tl::unexpected(bytes.error());
    const auto& how = x_tensor->how;
    const auto cols = x_tensor->shape.cols;
    const auto [first, count] = x_tensor->rows[shard];
    const auto planes = how.row->shape(how, cols);
    for (std::size_t p = 0; p < planes.planes_count; ++p)
      std::memcpy(x_result.data() + x_result.map().offset[p]
                    + planes.planes[p].offset(first, cols),
                  (*bytes)->data() + x_tensor->plane_offset(p, shard),
                  planes.planes[p].bytes(first, count, cols));
    return unit_tally{};
  }
  bool round_done(unsigned) override {
    return false;
  }
  void deliver(std::optional<error> why) override {
    if (why)
      return x_answer->set(tl::unexpected(std::move(*why)));
    x_answer->set(std::move(x_result), std::move(x_lease));
  }

  encoded x_result;
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
  bool round_done(unsigned) override {
    return false;
  }
  void deliver(std::optional<error>) override {
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

void forget_resident(const resident_place& place, std::shared_ptr<resident_tensor> tensor) {
  shard_rounds::order what;
  what.name = tensor->name;
  std::make_shared<forget_job>(std::move(what), place, std::move(tensor))->start(last_round);
}

} // namespace viva::actors
