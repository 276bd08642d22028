#include "actors/pipeline/stream.hpp"

#include "actors/pipeline/answering.hpp"
#include "actors/pipeline/stream_core.hpp"

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

namespace viva {

tensor_stream::tensor_stream(std::unique_ptr<actors::stream_core> core) : x_core(std::move(core)) {
}
tensor_stream::tensor_stream(error why) : x_broken(std::move(why)) {
}
tensor_stream::tensor_stream(tensor_stream&& other) noexcept
    : x_core(std::move(other.x_core)), x_broken(std::move(other.x_broken)), x_told(other.x_told),
      x_good(std::exchange(other.x_good, false)), x_result(other.x_result),
      x_index(other.x_index), x_more(std::exchange(other.x_more, 0)) {
}
tensor_stream::~tensor_stream() = default;

bool tensor_stream::step_on() {
  x_good = false;
  if (x_broken.code == errc::ok) [[likely]] {
    try {
      if (!x_core->step())
        return false;
      if (const auto at = x_core->item(); at.result) [[likely]] {
        x_index = at.index;
        x_result = *at.result;
        x_more = x_core->more();
        x_good = true;
      }
      return true;
    } catch (...) { // no memory for the stream's own work
      x_broken = actors::caught("stream");
      x_core->cancel();
    }
  }
  return !std::exchange(x_told, true);
}
stream_item tensor_stream::bad_item() const {
  if (x_broken.code != errc::ok) [[unlikely]]
    return {x_core != nullptr ? x_core->taken() : 0, tl::unexpected(x_broken)};
  return x_core->item();
}
void tensor_stream::cancel() {
  if (x_core != nullptr)
    x_core->cancel();
}

namespace actors {
namespace {

using clock = std::chrono::steady_clock;

// Half of it is what lanes do while the one who iterates wakes up: on a busy machine that takes the
// best part of a millisecond.
constexpr std::uint32_t tensors_under_way = 16 << 10, tensors_under_order = 64 << 10,
                        window_max = 4096;
// A process is told of a batch and tells of it through two other threads, 30 us of processor; and
// each batch with memory of its own, which the process maps, has a descriptor.
constexpr std::uint32_t tensors_a_message = 1024, tensors_an_order = 4096, regions_max = 64;
constexpr std::uint64_t bytes_a_message = 1 << 20, bytes_an_order = 4 << 20;
constexpr std::uint64_t light_bytes = 4 << 10; // of results: some 4096 values
constexpr std::uint32_t views_a_pull = 64; // at least
constexpr std::uint32_t tensors_a_clock = 32; // read: some 10 us
constexpr auto ask_again = std::chrono::microseconds{20}; // a source that has none yet
/// What is home is read after so long at most, whatever else is under way.
constexpr auto read_after = std::chrono::milliseconds{5};

std::uint32_t batch_of(const stream_options& options, bool shared) {
  if (options.batch_tensors != 0)
    return std::min(options.batch_tensors, slots_max);
  return shared ? tensors_an_order : tensors_a_message;
}

std::uint32_t window_of(const stream_options& options, const pipeline_floor& floor) {
  const bool shared = floor.shares != nullptr;
  const auto most = shared && options.into.empty() ? regions_max : window_max;
  if (options.window != 0)
    return std::min(options.window, shared ? most : options.window);
  const auto batch = batch_of(options, shared);
  const auto wanted = (shared ? tensors_under_order : tensors_under_way) / batch;
  return std::max(std::min(wanted, most), 2 + 3 * floor.lanes);
}

} // namespace

stream_core::stream_core(std::shared_ptr<pipeline_floor> floor, expected<kernels::recipe> how,
                         tensor_source source, stream_options options)
    : x_floor(std::move(floor)), x_options(options), x_source(std::move(source)),
      x_batch_tensors(batch_of(options, x_floor->shares != nullptr)),
      x_shares(x_floor->shares.get()) {
  x_hub = std::make_shared<stream_hub>(options.until);
  if (how)
    x_how = *how;
  else
    x_broken = how.error();
  if (x_shares != nullptr && !options.into.empty() && x_broken.code == errc::ok) {
    if (auto at = x_shares->find(options.into.data(), options.into.size()))
      x_into_at = std::move(*at);
    else
      x_broken = {errc::bad_option, "lanes are processes and cannot write `into` this memory; "
                                    "take some from pipeline::share"};
  }
  if (x_broken.code == errc::ok)
    lease();
  const auto count = x_broken.code == errc::ok ? x_window : 1;
  x_hub->wake_at = count / 2;
  x_slots.resize(count);
  x_home.reserve(count); // the two are exchanged, and who comes home must find a place
  x_hub->done.reserve(count);
  x_views.resize(std::max(x_batch_tensors, views_a_pull));
  for (std::uint32_t i = 0; i < count; ++i) {
    x_batches.push_back(std::make_shared<stream_batch>(x_hub, x_how));
    x_batches.back()->how_urgent = options.how_urgent;
    x_batches.back()->measure = options.measure;
    x_batches.back()->results_elsewhere = !options.into.empty();
    x_free.push_back(x_batches.back().get());
  }
}

// The whole stream is admitted at once; its batches then share what it was given.
void stream_core::lease() {
  auto& room = *x_floor->room;
  // A quarter of all there is, so that other work is not shut out.
  const auto tickets_max = std::max(1u, room.all().tickets / 4);
  x_window = std::min(window_of(x_options, *x_floor), tickets_max);
  const auto batch_bytes = x_options.batch_bytes != 0 ? x_options.batch_bytes
                           : x_shares != nullptr      ? bytes_an_order
                                                      : bytes_a_message;
  // Where sources are copied, too, they are up to eight times what comes of them.
  const auto a_batch = x_shares != nullptr && x_options.into.empty() ? 9 * batch_bytes
                                                                     : batch_bytes;
  x_bytes_max = std::min(x_window * a_batch, room.all().bytes / 4);
  x_batch_bytes = std::min(batch_bytes, x_bytes_max);
  x_slab_max = x_bytes_max / std::min<std::uint64_t>(x_window, 2 + 3 * x_floor->lanes);
  const auto mode = x_options.when_full == on_full::refuse ? on_full::refuse : on_full::block;
  auto given = room.admit({x_bytes_max, x_window}, mode, x_options.until);
  if (given)
    x_lease = std::move(*given);
  else
    x_broken = given.error();
}

// What lanes have in hand reads the caller's memory, and is waited for; what waits is not.
stream_core::~stream_core() {
  cancel();
  std::unique_lock lock{x_hub->guard};
  x_hub->wake_at = 0;
  x_hub->come.wait(lock, [this] {
    x_hub->waiting = true;
    return x_hub->under_way == 0;
  });
}

void stream_core::cancel() {
  if (x_hub->cancelled.exchange(true))
    return;
  try {
    x_floor->work->withdraw(x_hub.get(), cancelled_error());
  } catch (const std::bad_alloc&) { // lanes let go of each as they come to it
  }
}

bool stream_core::step() {
  x_slot += 1 + x_more;
  if (x_current == nullptr || x_slot >= x_current->tensors) {
    if (!next_batch())
      return false;
  } else if (x_slot >= x_current->runs[x_run].slot + x_current->runs[x_run].count) {
    ++x_run;
  }
  const auto& run = x_current->runs[x_run];
  x_more = x_current->all_good() ? run.slot + run.count - x_slot - 1 : 0;
  return true;
}

stream_item stream_core::item() const {
  const auto& batch = *x_current;
  const auto& run = batch.runs[x_run];
  const auto index = batch.first_index + x_slot;
  if (const auto* why = batch.problem(x_slot)) [[unlikely]]
    return {index, tl::unexpected(*why)};
  const auto* numbers = batch.numbers.empty() ? nullptr : &batch.numbers[x_slot];
  const auto& map = batch.maps[run.map];
  const auto* measured = batch.errors.empty() ? nullptr : &batch.errors[x_slot];
  return {index, encoded_view{x_how, map, batch.base + run.offset + (x_slot - run.slot) * map.total,
                              numbers, run.view.rows, run.view.cols, measured}};
}

bool stream_core::next_batch() {
  if (x_current != nullptr)
    x_free.push_back(std::exchange(x_current, nullptr));
  x_slot = x_run = x_more = 0;
  for (;;) { // one out, one in; more go out only while none comes in
    if (may_wait()) { // what can go on goes on before the source is asked
      flush();
      if ((x_current = in_turn()) != nullptr)
        break;
    }
    const bool sent = send_more();
    if ((x_current = in_turn()) != nullptr)
      break;
    if (sent)
      continue;
    flush();
    if (x_out == 0 && (!x_none_yet || x_hub->cancelled.load()))
      return false;
    receive();
  }
  --x_out;
  x_unclocked += x_current->tensors;
  if (x_unclocked >= tensors_a_clock)
    look_at_clock();
  x_floor->latency.add(std::max(x_now - x_current->sent, {}), x_current->tensors);
  return true;
}

/// Looking costs a fifth of a tensor.
void stream_core::look_at_clock() {
  x_now = clock::now();
  x_unclocked = 0;
}

/// True where one more batch is on its way.
bool stream_core::send_more() {
  if (x_filled == nullptr) {
    if (x_free.empty() || !fill(*x_free.back()))
      return false;
    x_filled = x_free.back();
    x_free.pop_back();
  }
  if (!make_room(*x_filled, x_filled->slab_bytes()))
    return false; // until others came home
  auto& batch = *std::exchange(x_filled, nullptr);
  if (x_late)
    batch.lost = late_error();
  const auto& broken = x_broken.code != errc::ok ? x_broken : batch.lost;
  batch.base = x_options.into.empty() ? batch.bytes.data() : x_options.into.data();
  if (x_shares != nullptr && broken.code == errc::ok) {
    batch.bring_over();
    batch.out = x_options.into.empty() ? shared_table::place{batch.bytes.region(), 0} : x_into_at;
  }
  batch.sequence = x_sequence++;
  batch.light = batch.bytes_used <= light_bytes;
  ++x_out;
  if (broken.code != errc::ok) {
    batch.lost = broken;
    batch.sent = x_now;
    arrive(&batch);
    return true;
  }
  x_unsent.push_back(batch.shared_from_this());
  if (x_unsent.size() >= x_batches.size() / 8 || x_hub->under_way.load() <= x_floor->lanes)
    flush();
  return true;
}

void stream_core::flush() {
  if (x_unsent.empty())
    return;
  look_at_clock();
  for (const auto& each : x_unsent)
    static_cast<stream_batch&>(*each).sent = x_now;
  {
    const std::lock_guard lock{x_hub->guard};
    x_hub->under_way += static_cast<std::uint32_t>(x_unsent.size());
  }
  try {
    x_floor->work->submit(x_unsent);
  } catch (...) { // what no lane will ever have is not waited for
    const std::lock_guard lock{x_hub->guard};
    x_hub->under_way -= static_cast<std::uint32_t>(
      std::ranges::count_if(x_unsent, [](const auto& each) { return each != nullptr; }));
    std::erase(x_unsent, nullptr);
    throw;
  }
  x_unsent.clear();
  if (x_hub->cancelled.load()) // while they were on their way
    x_floor->work->withdraw(x_hub.get(), cancelled_error());
}

/// Slabs together keep to the lease, and to so many regions: one of a free batch is taken over
/// where it is large enough, and others of them are dropped. Where the system has no room the batch
/// is lost, and only that one.
bool stream_core::make_room(stream_batch& batch, std::uint64_t bytes) {
  if (bytes <= batch.bytes.size())
    return true;
  auto drop = [this](stream_batch& each) {
    x_bytes -= each.bytes.size();
    x_regions -= each.bytes.region() != nullptr ? 1 : 0;
    each.bytes.drop();
  };
  const auto crowded = [&] {
    return x_bytes + bytes > x_bytes_max
           || x_regions >= std::max(regions_max, 2 + 3 * x_floor->lanes);
  };
  for (std::size_t i = 0; x_shares != nullptr && i < x_free.size(); ++i)
    if (x_free[i]->bytes.size() >= bytes) { // a lane has it mapped
      batch.bytes.swap(x_free[i]->bytes);
      return true;
    }
  drop(batch);
  for (std::size_t i = 0; i < x_free.size() && crowded(); ++i)
    drop(*x_free[i]);
  if (crowded())
    return false;
  // A batch that grows tensor by tensor gets new memory, whose pages are cleared, a few times only.
  const auto ample = std::min(std::bit_ceil(bytes), std::max(bytes, x_slab_max));
  if (x_bytes + ample > x_bytes_max || !batch.bytes.make_room(ample, x_shares))
    if (auto made = batch.bytes.make_room(bytes, x_shares); !made)
      batch.lost = made.error();
  x_bytes += batch.bytes.size();
  x_regions += batch.bytes.region() != nullptr ? 1 : 0;
  return true;
}

/// Waits until something is home, the source is to be asked again, or the time of all is over.
void stream_core::receive() {
  const auto home = [this] {
    x_hub->waiting = x_hub->done.empty();
    return !x_hub->waiting;
  };
  const auto limit = x_hub->until;
  {
    std::unique_lock lock{x_hub->guard};
    auto until = clock::now() + (x_none_yet ? clock::duration{ask_again} : read_after);
    if (!x_late && limit != no_deadline)
      until = std::min(until, limit);
    x_hub->come.wait_until(lock, until, home);
    x_hub->waiting = false;
  }
  if (!x_late && limit != no_deadline && clock::now() > limit) {
    x_late = true;
    x_floor->work->withdraw(x_hub.get(), late_error());
  }
}

void stream_core::arrive(stream_batch* batch) {
  if (x_options.in_order)
    x_slots[batch->sequence % x_slots.size()] = batch;
  else
    x_ready.push_back(batch);
}

void stream_core::collect() {
  {
    const std::lock_guard lock{x_hub->guard};
    x_home.swap(x_hub->done);
  }
  if (!x_home.empty())
    look_at_clock();
  for (auto* batch : x_home)
    arrive(batch);
  x_home.clear();
}

/// The batch to read next, or null where it is not home.
stream_batch* stream_core::in_turn() {
  if (x_options.in_order) {
    auto& slot = x_slots[x_next % x_slots.size()];
    if (slot == nullptr)
      collect();
    x_next += slot != nullptr ? 1 : 0;
    return std::exchange(slot, nullptr);
  }
  if (x_ready_at == x_ready.size()) {
    x_ready.clear();
    x_ready_at = 0;
    collect();
  }
  return x_ready_at < x_ready.size() ? x_ready[x_ready_at++] : nullptr;
}

} // namespace actors
} // namespace viva
