#include "actors/pipeline/stream_batch.hpp"

#include "actors/pipeline/remote_order.hpp"

#include <algorithm>
#include <cstring>
#include <new>

namespace viva::actors {

namespace {
constexpr std::align_val_t slab_alignment{64};

/// Under its lock. Wakes the one who iterates while lanes still have work for the time that takes,
/// not for each batch: a wake costs as much as a batch of small tensors.
void tell(stream_hub& hub) {
  if (hub.waiting && hub.under_way.load(std::memory_order_relaxed) <= hub.wake_at) {
    hub.waiting = false;
    hub.come.notify_one();
  }
}
} // namespace

void slab::drop() noexcept {
  if (x_region)
    x_region.reset();
  else
    ::operator delete(x_data, slab_alignment);
  x_data = nullptr;
  x_size = 0;
}

expected<void> slab::make_room(std::uint64_t bytes, shared_table* shares) {
  if (bytes <= x_size)
    return {};
  drop();
  if (shares != nullptr) {
    auto made = shares->make(bytes, true);
    if (!made)
      return tl::unexpected(made.error());
    x_region = std::move(*made);
    x_data = x_region->data();
  } else {
    x_data = static_cast<std::byte*>(::operator new(bytes, slab_alignment, std::nothrow));
    if (x_data == nullptr)
      return fail(errc::over_budget, "no memory for a batch of " + std::to_string(bytes)
                                       + " bytes; free some, or ask for smaller batches");
  }
  x_size = bytes;
  return {};
}

void stream_batch::clear() {
  runs.clear();
  tensors = 0;
  maps.clear();
  complaints.clear();
  problems.clear();
  bytes_used = copied_bytes = 0;
  lies.clear();
  lost = {};
  runs_lost = 0;
}

const error* stream_batch::problem(std::uint32_t slot) const {
  if (all_good()) [[likely]]
    return nullptr;
  for (const auto* all : {&complaints, &problems})
    if (const auto at = std::ranges::lower_bound(*all, slot, {}, &complaint::slot);
        at != all->end() && at->slot == slot)
      return &at->why;
  return lost.code != errc::ok ? &lost : nullptr;
}

// Under the hub's lock.
void stream_batch::come_home() {
  hub->done.push_back(this);
  hub->under_way.store(hub->under_way.load(std::memory_order_relaxed) - 1,
                       std::memory_order_relaxed);
}

bool stream_batch::begin() noexcept {
  const bool late = hub->until != no_deadline && std::chrono::steady_clock::now() > hub->until;
  if (!hub->cancelled.load() && !late)
    return true;
  try {
    lost = late ? late_error() : cancelled_error();
  } catch (const std::bad_alloc&) {
    lost.code = late ? errc::timed_out : errc::interrupted;
  }
  finish();
  return false;
}

unit_tally stream_batch::run(const lane_floor& floor) {
  problems.clear(); // of a run that was lost
  if (how.row->survey_run != nullptr)
    numbers.resize(tensors);
  errors.resize(measure ? tensors : 0);
  for (const auto& run : runs)
    if (run.map != refused)
      encode(run, floor);
  return tally();
}

unit_tally stream_batch::tally() const {
  unit_tally did{.tensors = tensors, .method = how.row->name};
  for (const auto& run : runs)
    if (run.map != refused) {
      const auto values = run.count * run.view.values();
      did.values += values;
      did.bytes += values * kernels::bytes_of(run.view.type);
    }
  return did;
}

void stream_batch::bring_over() {
  auto to = results_bytes();
  for (std::size_t r = 0; r < runs.size(); ++r) {
    auto& run = runs[r];
    if (run.map == refused || lies[r])
      continue;
    lies[r] = bytes.region();
    auto* const begin = bytes.data() + to;
    const auto line = run.view.cols * kernels::bytes_of(run.view.type);
    if (run.view.dense()) {
      std::memcpy(begin, run.view.data, run.count * run.view.rows * line);
    } else {
      for (std::uint64_t i = 0; i < run.count * run.view.rows; ++i)
        std::memcpy(begin + i * line, run.view.data + i * run.view.row_bytes, line);
    }
    run.view.data = begin;
    run.view.row_bytes = 0;
    to += (run.count * run.view.rows * line + 63) / 64 * 64;
  }
}

std::unique_ptr<remote_order> stream_batch::order(std::uint64_t) {
  auto made = std::make_unique<remote_order>();
  made->regions.push_back(out.region);
  for (const auto& each : lies)
    if (each && each != made->regions.back())
      made->regions.push_back(each);
  auto& what = made->order;
  what.method = how.name();
  what.type = how.source;
  what.slots = tensors;
  what.measure = measure;
  what.out = out.region->id;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const auto& run = runs[r];
    if (run.map == refused)
      continue;
    what.runs.push_back({lies[r]->id, static_cast<std::uint64_t>(run.view.data - lies[r]->data()),
                         run.view.rows, run.view.cols, run.view.row_bytes,
                         out.offset + run.offset, run.slot, run.count});
  }
  return made;
}

bool stream_batch::settle(const tensor_receipt& done) {
  if (done.numbers.size() != (how.row->survey_run != nullptr ? tensors : 0)
      || done.errors.size() != (measure ? tensors : 0))
    return false;
  problems.clear();
  for (const auto& each : done.problems) {
    const auto run = std::ranges::find_if(runs, [&](const run_of_tensors& r) {
      return each.slot - r.slot < r.count; // unsigned: false below, too
    });
    if (run == runs.end() || run->map == refused)
      return false;
    problems.push_back({each.slot, name_problem({each.code, each.position}, how, run->view.cols,
                                                "tensor "
                                                  + std::to_string(first_index + each.slot))});
  }
  numbers = done.numbers;
  errors = done.errors;
  return true;
}

// One view goes from tensor to tensor instead of a new one each: read again as a whole, a new one
// waits until its halves are in the cache, behind the planes of the tensor before, and that is a
// fifth of encoding it. Run and map are copies, because other batches' lie beside them.
void stream_batch::encode(const run_of_tensors run, const lane_floor& floor) {
  kernels::tensor_numbers none;
  const auto map = maps[run.map];
  auto view = run.view;
  auto* to = base + run.offset;
  for (std::uint32_t i = 0; i < run.count; ++i) {
    auto& its_own = numbers.empty() ? none : numbers[run.slot + i];
    const auto done = encode_whole(how, view, map, to, its_own, floor);
    if (done && measure)
      errors[run.slot + i] = measure_whole(how, view, map, to, its_own);
    if (!done) [[unlikely]]
      problems.push_back(
        {run.slot + i, name_problem(done, how, view.cols,
                                    "tensor " + std::to_string(first_index + run.slot + i))});
    view.data += view.rows * view.step();
    to += map.total;
  }
}

const void* stream_batch::home() const noexcept {
  return hub.get();
}

void stream_batch::finish() noexcept {
  const std::lock_guard lock{hub->guard};
  come_home();
  tell(*hub);
}

std::size_t stream_batch::finish_first_of(std::span<const unit_ptr> run) noexcept {
  std::size_t count = 0;
  const std::lock_guard lock{hub->guard};
  for (; count < run.size() && run[count] && run[count]->home() == hub.get(); ++count)
    static_cast<stream_batch&>(*run[count]).come_home();
  tell(*hub);
  return count;
}

void stream_batch::lose() noexcept {
}

void stream_batch::fail(const error& why, bool) noexcept {
  try {
    lost = why;
  } catch (const std::bad_alloc&) {
    lost.code = why.code; // without words
  }
  finish();
}

} // namespace viva::actors
