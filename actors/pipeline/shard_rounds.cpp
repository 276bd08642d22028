#include "actors/pipeline/shard_rounds.hpp"

#include <algorithm>
#include <chrono>

namespace viva::actors {

class shard_rounds::shard_unit final : public unit, public remote_unit {
public:
  shard_unit(std::shared_ptr<shard_rounds> of, unsigned round, std::size_t index)
      : x_of(std::move(of)), x_round(round), x_index(index) {
    how_urgent = x_of->x_order.how_urgent;
    only_lane = x_of->lane_of(index);
  }
  bool begin() noexcept override {
    return x_of->begin_shard();
  }
  unit_tally run(const lane_floor& floor) override {
    return note(x_of->run(x_round, x_index, floor));
  }
  remote_unit* remote() noexcept override {
    return this;
  }
  std::unique_ptr<remote_order> order(std::uint64_t life) override {
    auto asked = x_of->ask(x_round, x_index, life);
    if (asked && asked->order.steps_count() != 0)
      return std::make_unique<remote_order>(std::move(*asked));
    note(asked ? expected<unit_tally>{} : tl::unexpected(std::move(asked.error())));
    return nullptr;
  }
  bool settle(const tensor_receipt& done) override {
    auto did = x_of->settle(x_round, x_index, done);
    if (did)
      x_did = note(std::move(*did));
    return did.has_value();
  }
  unit_tally tally() const override {
    return x_did;
  }
  void finish() noexcept override {
    x_of->shard_done();
  }
  void lose() noexcept override {
    x_of->shard_lost();
  }
  void fail(const error& why, bool was_begun) noexcept override {
    x_of->shard_failed(why, was_begun);
  }

private:
  unit_tally note(expected<unit_tally> did) {
    if (did) {
      x_of->x_problems[x_index].reset();
      return *did;
    }
    x_of->x_problems[x_index] = std::move(did.error());
    return {};
  }
  const std::shared_ptr<shard_rounds> x_of;
  const unsigned x_round;
  const std::size_t x_index;
  unit_tally x_did;
};

shard_rounds::shard_rounds(order what, std::size_t shards, std::shared_ptr<desk> work)
    : x_order(std::move(what)), x_desk(std::move(work)), x_problems(shards) {
}

std::size_t shard_rounds::lane_of(std::size_t) const {
  return unit::any_lane;
}

void shard_rounds::start(unsigned first, const std::function<void()>& prepare) {
  {
    const std::lock_guard lock{x_guard};
    if (x_answered)
      return;
    prepare();
    x_round = first;
    x_left = x_problems.size();
  }
  submit(first);
}

void shard_rounds::submit(unsigned round) {
  std::vector<unit_ptr> units;
  for (std::size_t i = 0; i < x_problems.size(); ++i)
    units.push_back(std::make_shared<shard_unit>(shared_from_this(), round, i));
  x_desk->submit(units);
}

bool shard_rounds::begin_shard() {
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

// Of several refused shards the first in the tensor is told, whatever the order they came home in.
void shard_rounds::shard_done() {
  std::unique_lock lock{x_guard};
  --x_running;
  --x_left;
  if (x_stopped || x_left != 0)
    return settle(lock);
  const auto bad = std::ranges::find_if(x_problems, [](const auto& p) { return p.has_value(); });
  if (bad != x_problems.end()) {
    x_stopped = std::move(**bad);
    return settle(lock);
  }
  if (!round_done(x_round))
    return settle(lock);
  x_left = x_problems.size();
  const auto round = ++x_round;
  lock.unlock();
  submit(round);
}

void shard_rounds::shard_lost() {
  const std::lock_guard lock{x_guard};
  --x_running;
}

void shard_rounds::shard_failed(const error& why, bool was_begun) {
  std::unique_lock lock{x_guard};
  x_running -= was_begun ? 1 : 0;
  if (!x_stopped)
    x_stopped = {why.code, x_order.name + ": " + why.text};
  settle(lock);
}

void shard_rounds::stop(error why) {
  std::unique_lock lock{x_guard};
  if (!x_stopped)
    x_stopped = std::move(why);
  settle(lock);
}

void shard_rounds::withdraw(errc why) {
  stop({why, x_order.name + (why == errc::timed_out ? ": its deadline passed" : ": cancelled")});
}

// Answers once nobody works on it.
void shard_rounds::settle(std::unique_lock<std::mutex>& lock) {
  if (x_answered || x_running != 0 || (!x_stopped && x_left != 0))
    return;
  x_answered = true;
  const auto why = x_stopped; // it stays, for shards still in line to see
  lock.unlock();
  deliver(why);
}

} // namespace viva::actors
