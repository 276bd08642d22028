#include "actors/pipeline/stream_batch.hpp"

#include <algorithm>
#include <new>

namespace viva::actors {

namespace {
constexpr std::align_val_t slab_alignment{64};
} // namespace

void slab::drop() noexcept {
  ::operator delete(x_data, slab_alignment);
  x_data = nullptr;
  x_size = 0;
}

void slab::make_room(std::uint64_t bytes) {
  if (bytes <= x_size)
    return;
  drop();
  x_data = static_cast<std::byte*>(::operator new(bytes, slab_alignment));
  x_size = bytes;
}

void stream_batch::clear() {
  runs.clear();
  tensors = 0;
  maps.clear();
  complaints.clear();
  problems.clear();
  bytes_used = 0;
  lost = {};
  runs_lost = 0;
}

const error* stream_batch::problem(std::uint32_t slot) const {
  if (problems.empty() && complaints.empty() && lost.code == errc::ok) [[likely]]
    return nullptr;
  for (const auto* all : {&complaints, &problems})
    if (const auto at = std::ranges::lower_bound(*all, slot, {}, &complaint::slot);
        at != all->end() && at->slot == slot)
      return &at->why;
  return lost.code != errc::ok ? &lost : nullptr;
}

// Under the hub's lock. Wakes the one who iterates while lanes still have work for the time that
// takes, not for each batch: a wake costs as much as a batch of small tensors.
void stream_batch::come_home(std::unique_lock<std::mutex>& lock) {
  hub->done.push_back(this);
  if (hub->waiting && hub->in_line.load() <= hub->wake_at) {
    hub->waiting = false;
    hub->come.notify_one();
  }
  lock.unlock();
}

bool stream_batch::begin() noexcept {
  ++hub->running; // first, so that the sum of both is never 0 in between
  --hub->in_line;
  const bool late = hub->until != no_deadline && std::chrono::steady_clock::now() > hub->until;
  if (!hub->cancelled.load() && !late)
    return true;
  lost = late ? error{errc::timed_out, "the stream's deadline passed before a lane was free"}
              : error{errc::interrupted, "the stream was cancelled"};
  std::unique_lock lock{hub->guard};
  --hub->running;
  come_home(lock);
  return false;
}

unit_tally stream_batch::run(const lane_floor& floor) {
  unit_tally did{tensors, 0};
  problems.clear(); // of a run that was lost
  if (how.row->survey_run != nullptr)
    numbers.resize(tensors);
  for (const auto& run : runs)
    if (run.map != refused) {
      encode(run, floor);
      did.bytes += run.count * run.view.values() * kernels::bytes_of(run.view.type);
    }
  return did;
}

void stream_batch::encode(const run_of_tensors& run, const lane_floor& floor) {
  kernels::tensor_numbers none;
  const auto& map = maps[run.map];
  for (std::uint32_t i = 0; i < run.count; ++i) {
    auto& its_own = numbers.empty() ? none : numbers[run.slot + i];
    const auto done =
      encode_whole(how, run.at(i), map, base + run.offset + i * map.total, its_own, floor);
    if (!done) [[unlikely]]
      problems.push_back(
        {run.slot + i, name_problem(done, how, run.view.cols,
                                    "tensor " + std::to_string(first_index + run.slot + i))});
  }
}

void stream_batch::finish() noexcept {
  std::unique_lock lock{hub->guard};
  --hub->running;
  come_home(lock);
}

void stream_batch::lose() noexcept {
  ++hub->in_line;
  --hub->running;
}

void stream_batch::fail(const error& why, bool was_begun) noexcept {
  std::unique_lock lock{hub->guard};
  --(was_begun ? hub->running : hub->in_line);
  lost = why;
  come_home(lock);
}

} // namespace viva::actors
