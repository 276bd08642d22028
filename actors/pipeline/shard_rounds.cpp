#include "actors/pipeline/shard_rounds.hpp"

#include <algorithm>
#include <chrono>

namespace viva::actors {

class shard_rounds::shard_unit final : public unit, public remote_unit {
public:
  shard_unit(std::shared_ptr<shard_rounds> of, unsigned round, std::size_t index, turn its)
      : x_of(std::move(of)), x_round(round), x_index(index), x_turn(its) {
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
    x_waits = x_turn == turn::first && x_of->holds_back();
    if (x_waits)
      return nullptr;
    auto asked = x_of->ask(x_round, x_index, life);
    x_reads = asked && x_of->must_read(x_index);
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
    if (x_waits)
      x_of->park(x_round, x_index);
    else if (x_reads)
      x_of->set_aside(x_round, x_index, x_turn);
    else
      x_of->shard_done(x_turn);
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
  const turn x_turn;
  bool x_reads = false; // its order waits for a disk
  bool x_waits = false; // for others to be read and done
};

shard_rounds::shard_rounds(order what, std::size_t shards, std::shared_ptr<desk> work)
    : x_order(std::move(what)), x_desk(std::move(work)), x_problems(shards),
      x_no_memory{errc::over_budget,
                  x_order.name + ": no memory is left for this call; free some"} {
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
    x_parked.reserve(x_problems.size());
    x_round = first;
    x_left = x_problems.size();
  }
  submit(first, 0, x_problems.size(), turn::first);
}

// The desk may have taken some of the units, or all: no lane begins one of them any more.
void shard_rounds::submit(unsigned round, std::size_t first, std::size_t count,
                          turn its) noexcept {
  try {
    handful units;
    for (auto i = first; i < first + count; ++i)
      units.push_back(std::make_shared<shard_unit>(shared_from_this(), round, i, its));
    x_desk->submit(units);
  } catch (...) {
    std::unique_lock lock{x_guard};
    if (!x_stopped)
      x_stopped = std::move(x_no_memory);
    settle(lock);
  }
}

bool shard_rounds::must_read(std::size_t) const {
  return false;
}

void shard_rounds::read(std::size_t, std::function<bool()>, std::function<void()> then) {
  then();
}

bool shard_rounds::holds_back() {
  const std::lock_guard lock{x_guard};
  return !x_stopped && x_reading >= reads_max;
}

// It does not run, and holds no memory, until one of those before it is done.
void shard_rounds::park(unsigned round, std::size_t shard) noexcept {
  {
    std::unique_lock lock{x_guard};
    --x_running;
    if (x_stopped)
      return settle(lock);
    if (x_reading >= reads_max)
      return x_parked.push_back(shard); // room was reserved
  }
  submit(round, shard, 1, turn::let_in);
}

// Meanwhile it counts as a shard that runs, so that the answer waits for whoever reads.
void shard_rounds::set_aside(unsigned round, std::size_t shard, turn its) noexcept {
  try {
    if (its != turn::read) { // else its lane died, and it is to be read once more
      const std::lock_guard lock{x_guard};
      ++x_reading;
    }
    read(
      shard,
      [self = shared_from_this()] {
        const std::lock_guard lock{self->x_guard};
        return !self->x_stopped;
      },
      [self = shared_from_this(), round, shard] { self->take_up(round, shard); });
  } catch (...) {
    std::unique_lock lock{x_guard};
    --x_running;
    if (!x_stopped)
      x_stopped = std::move(x_no_memory);
    settle(lock);
  }
}

void shard_rounds::take_up(unsigned round, std::size_t shard) noexcept {
  {
    std::unique_lock lock{x_guard};
    --x_running;
    if (x_stopped)
      return settle(lock);
  }
  submit(round, shard, 1, turn::read);
}

bool shard_rounds::begin_shard() {
  std::unique_lock lock{x_guard};
  if (!x_stopped && std::chrono::steady_clock::now() > x_order.until)
    note_stop(errc::timed_out, "its deadline passed before a lane was free");
  if (x_stopped) {
    settle(lock);
    return false;
  }
  ++x_running;
  return true;
}

// Of several refused shards the first in the tensor is told, whatever the order they came home in.
void shard_rounds::shard_done(turn its) {
  std::unique_lock lock{x_guard};
  --x_running;
  --x_left;
  x_reading -= its == turn::read ? 1 : 0;
  if (!x_stopped && !x_parked.empty() && x_reading < reads_max) {
    const auto next = x_parked.back();
    x_parked.pop_back();
    const auto round = x_round;
    lock.unlock();
    return submit(round, next, 1, turn::let_in);
  }
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
  submit(round, 0, x_problems.size(), turn::first);
}

void shard_rounds::shard_lost() {
  const std::lock_guard lock{x_guard};
  --x_running;
}

void shard_rounds::shard_failed(const error& why, bool was_begun) {
  std::unique_lock lock{x_guard};
  x_running -= was_begun ? 1 : 0;
  note_stop(why.code, why.text);
  settle(lock);
}

void shard_rounds::withdraw(errc why) {
  std::unique_lock lock{x_guard};
  note_stop(why, why == errc::timed_out ? "its deadline passed" : "cancelled");
  settle(lock);
}

// Under the lock. The first reason stands; where there is no memory for its words, that is told.
void shard_rounds::note_stop(errc why, std::string_view words) noexcept {
  if (x_stopped)
    return;
  try {
    x_stopped = error{why, (x_order.name + ": ").append(words)};
  } catch (...) {
    x_stopped = std::move(x_no_memory);
  }
}

// Answers once nobody works on it.
void shard_rounds::settle(std::unique_lock<std::mutex>& lock) {
  if (x_answered || x_running != 0 || (!x_stopped && x_left != 0))
    return;
  x_answered = true;
  std::optional<error> why;
  if (x_stopped) // which stays, for shards still in line to see
    why = error{x_stopped->code, std::move(x_stopped->text)};
  lock.unlock();
  deliver(std::move(why));
}

} // namespace viva::actors
