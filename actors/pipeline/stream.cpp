#include "actors/pipeline/stream.hpp"

#include "actors/pipeline/stream_core.hpp"

#include <algorithm>
#include <utility>

namespace viva {

tensor_stream::tensor_stream(std::unique_ptr<actors::stream_core> core) : x_core(std::move(core)) {
}
tensor_stream::tensor_stream(tensor_stream&&) noexcept = default;
tensor_stream::~tensor_stream() = default;

bool tensor_stream::step() {
  return x_core->step();
}
stream_item tensor_stream::item() const {
  return x_core->item();
}
void tensor_stream::cancel() {
  x_core->cancel();
}

namespace actors {
namespace {

// Half of it is what lanes do while the one who iterates wakes up: on a busy machine that takes the
// best part of a millisecond.
constexpr std::uint32_t tensors_under_way = 16 << 10, tensors_under_order = 64 << 10,
                        window_max = 4096;
// A process is told of a batch and tells of it through two other threads, 30 us of processor; and
// each batch in memory that it maps has a descriptor.
constexpr std::uint32_t tensors_a_message = 256, tensors_an_order = 2048, window_shared_max = 64;
constexpr std::uint64_t bytes_a_message = 256 << 10, bytes_an_order = 2 << 20;

std::uint32_t batch_of(const stream_options& options, bool shared) {
  if (options.batch_tensors != 0)
    return options.batch_tensors;
  return shared ? tensors_an_order : tensors_a_message;
}

std::uint32_t window_of(const stream_options& options, const pipeline_floor& floor) {
  const bool shared = floor.shares != nullptr;
  const auto most = shared ? window_shared_max : window_max;
  if (options.window != 0)
    return std::min(options.window, shared ? most : options.window);
  const auto batch = batch_of(options, shared);
  const auto wanted = (shared ? tensors_under_order : tensors_under_way) / batch;
  return std::max(std::min(wanted, most), 2 + 3 * floor.lanes);
}

/// From its first byte to its last.
std::uint64_t source_bytes(const tensor_view& view) {
  return (view.rows - 1) * view.step() + view.cols * kernels::bytes_of(view.type);
}

/// What a copy takes, between others.
std::uint64_t copied_bytes(const tensor_view& view) {
  return (view.values() * kernels::bytes_of(view.type) + 63) / 64 * 64;
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
  const auto count = x_broken.code == errc::ok ? window_of(options, *x_floor) : 1;
  x_hub->wake_at = count / 2;
  x_slots.resize(count);
  x_views.resize(x_batch_tensors);
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
  const auto window = window_of(x_options, *x_floor);
  const auto batch_bytes = x_options.batch_bytes != 0 ? x_options.batch_bytes
                           : x_shares != nullptr      ? bytes_an_order
                                                      : bytes_a_message;
  const auto tickets = std::min(window, room.all().tickets);
  // Where sources are copied, too, they are up to eight times what comes of them.
  const auto a_batch = x_shares != nullptr && x_options.into.empty() ? 9 * batch_bytes
                                                                     : batch_bytes;
  x_bytes_max = std::min(window * a_batch, room.all().bytes / 4);
  x_batch_bytes = std::min(batch_bytes, x_bytes_max);
  const auto mode = x_options.when_full == on_full::refuse ? on_full::refuse : on_full::block;
  auto given = room.admit({x_bytes_max, tickets}, mode, x_options.until);
  if (given)
    x_lease = std::move(*given);
  else
    x_broken = given.error();
}

stream_core::~stream_core() {
  cancel();
  std::unique_lock lock{x_hub->guard};
  x_hub->come.wait(lock, [this] {
    x_hub->waiting = true;
    return x_hub->in_line + x_hub->running == 0;
  });
}

void stream_core::cancel() {
  x_hub->cancelled = true;
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
  x_slot = x_run = 0;
  for (;;) { // one out, one in; more go out only while none comes in
    const bool sent = send_more();
    if ((x_current = in_turn()) != nullptr)
      break;
    if (sent)
      continue;
    flush();
    if (x_out == 0)
      return false;
    receive();
  }
  --x_out;
  const auto took = std::chrono::steady_clock::now() - x_current->sent;
  x_floor->latency.add(took, x_current->tensors);
  return true;
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
  const auto& broken = x_broken.code != errc::ok ? x_broken : batch.lost;
  batch.base = x_options.into.empty() ? batch.bytes.data() : x_options.into.data();
  if (x_shares != nullptr && broken.code == errc::ok) {
    batch.bring_over();
    batch.out = x_options.into.empty() ? shared_table::place{batch.bytes.region(), 0} : x_into_at;
  }
  batch.sequence = x_sequence++;
  batch.sent = std::chrono::steady_clock::now();
  ++x_out;
  if (broken.code != errc::ok) {
    batch.lost = broken;
    arrive(&batch);
    return true;
  }
  x_unsent.push_back(batch.shared_from_this());
  if (x_unsent.size() >= x_batches.size() / 8 || x_hub->in_line.load() == 0)
    flush();
  return true;
}

void stream_core::flush() {
  if (x_unsent.empty())
    return;
  x_hub->in_line += static_cast<std::uint32_t>(x_unsent.size());
  x_floor->work->submit(x_unsent);
  x_unsent.clear();
}

bool stream_core::pull() {
  if (x_view < x_views_count)
    return true;
  if (x_ended)
    return false;
  x_views_count = std::min(x_views.size(), x_source(x_views));
  x_view = 0;
  x_ended = x_views_count == 0;
  return !x_ended;
}

/// Takes views until the batch is full; false where there are none.
bool stream_core::fill(stream_batch& batch) {
  batch.clear();
  batch.first_index = x_index;
  x_follows = nullptr;
  while (batch.tensors < x_batch_tensors && pull()
         && (follow(batch, x_views[x_view]) || place(batch, x_views[x_view])))
    ++x_view;
  x_index += batch.tensors;
  return batch.tensors != 0;
}

bool stream_core::refuse(stream_batch& batch, const tensor_view& view, error why) {
  x_follows = nullptr;
  batch.complaints.push_back({batch.tensors, std::move(why)});
  batch.runs.push_back({view, 0, stream_batch::refused, batch.tensors++, 1});
  batch.lies.resize(x_shares != nullptr ? batch.runs.size() : 0);
  return true;
}

/// The many: one more of the run that `place` began last, behind it in memory. False where it is
/// not, or where `place` must look at it: limits, memory that is to be copied.
bool stream_core::follow(stream_batch& batch, const tensor_view& view) {
  const auto bytes = x_checked_map.total;
  if (view.data != x_follows || x_follows == nullptr || view.rows != x_checked.rows
      || view.cols != x_checked.cols || view.row_bytes != x_checked.row_bytes
      || view.type != x_checked.type || batch.bytes_used + bytes > x_batch_bytes)
    return false;
  const auto step = view.rows * view.step();
  const bool elsewhere = !x_options.into.empty();
  if (elsewhere ? bytes > x_options.into.size() - x_into
                : batch.slab_bytes() + bytes > x_bytes_max)
    return false;
  if (x_shares != nullptr) {
    const auto* const region = batch.lies.back().get();
    if (region == nullptr || view.data + step > region->data() + region->size())
      return false;
  }
  ++batch.runs.back().count;
  ++batch.tensors;
  batch.bytes_used += bytes;
  x_into += elsewhere ? bytes : 0;
  x_follows += step;
  return true;
}

/// False where the batch has enough without it.
bool stream_core::place(stream_batch& batch, const tensor_view& view) {
  const auto slot = batch.tensors;
  const bool same = view.rows == x_checked.rows && view.cols == x_checked.cols
                    && view.row_bytes == x_checked.row_bytes && view.type == x_checked.type
                    && view.data != nullptr;
  if (!same && x_broken.code == errc::ok) {
    const auto name = "tensor " + std::to_string(x_index + slot);
    auto fine = check_view(x_how, view, name);
    plane_map map;
    if (fine)
      map = map_planes(x_how, view.rows, view.cols);
    if (!fine)
      return refuse(batch, view, fine.error());
    x_checked = view;
    x_checked_map = map;
  }
  const auto bytes = x_checked_map.total;
  if (bytes > x_options.into.size() - x_into && !x_options.into.empty())
    return refuse(batch, view,
                  {errc::over_budget, "tensor " + std::to_string(x_index + slot)
                                        + ": its result needs " + std::to_string(bytes)
                                        + " bytes and `into` has "
                                        + std::to_string(x_options.into.size() - x_into)
                                        + " left; give it room for all results"});
  const bool shared = x_shares != nullptr && x_broken.code == errc::ok;
  static const std::shared_ptr<shared_region> nowhere;
  const auto& region = shared ? region_of(view, source_bytes(view)) : nowhere; // no copy: atomics
  const auto copied = shared && region == nullptr ? copied_bytes(view) : 0;
  if (const auto alone = (x_options.into.empty() ? bytes : 0) + copied; alone > x_bytes_max)
    return refuse(batch, view,
                  {errc::over_budget, "tensor " + std::to_string(x_index + slot) + ": it needs "
                                        + std::to_string(alone) + " bytes and the stream has "
                                        + std::to_string(x_bytes_max)
                                        + (copied != 0 ? "; put it into memory of pipeline::share"
                                                       : "; raise pipeline_options::budget_bytes "
                                                         "or quantize it by itself")});
  if (slot != 0
      && (batch.bytes_used + bytes > x_batch_bytes
          || batch.slab_bytes() + bytes + copied > x_bytes_max))
    return false;
  if (!same || batch.maps.empty())
    batch.maps.push_back(x_checked_map);
  const auto map = static_cast<std::uint32_t>(batch.maps.size() - 1);
  auto* const last = batch.runs.empty() ? nullptr : &batch.runs.back();
  if (last != nullptr && last->map == map && last->at(last->count).data == view.data
      && (batch.lies.empty() || batch.lies.back() == region)) {
    ++last->count;
  } else {
    batch.runs.push_back(
      {view, x_options.into.empty() ? batch.bytes_used : x_into, map, slot, 1});
    if (x_shares != nullptr)
      batch.lies.push_back(region);
  }
  x_follows = view.data + view.rows * view.step();
  batch.copied_bytes += copied;
  ++batch.tensors;
  batch.bytes_used += bytes;
  x_into += x_options.into.empty() ? 0 : bytes;
  return true;
}

/// The region a view lies in: most often that of the one before.
const std::shared_ptr<shared_region>& stream_core::region_of(const tensor_view& view,
                                                             std::uint64_t bytes) {
  const auto* const near = x_near.region.get();
  if (near == nullptr || view.data < near->data()
      || view.data + bytes > near->data() + near->size())
    x_near = x_shares->find(view.data, bytes).value_or(shared_table::place{});
  return x_near.region;
}

/// Slabs together keep to the lease: those of free batches are dropped first. Where the system has
/// no room the batch is lost, and only that one.
bool stream_core::make_room(stream_batch& batch, std::uint64_t bytes) {
  if (bytes <= batch.bytes.size())
    return true;
  auto drop = [this](stream_batch& each) {
    x_bytes -= each.bytes.size();
    each.bytes.drop();
  };
  drop(batch);
  for (std::size_t i = 0; i < x_free.size() && x_bytes + bytes > x_bytes_max; ++i)
    drop(*x_free[i]);
  if (x_bytes + bytes > x_bytes_max)
    return false;
  if (auto made = batch.bytes.make_room(bytes, x_shares); !made)
    batch.lost = made.error();
  x_bytes += batch.bytes.size();
  return true;
}

/// Waits until something is home.
void stream_core::receive() {
  std::unique_lock lock{x_hub->guard};
  x_hub->come.wait(lock, [this] {
    x_hub->waiting = x_hub->done.empty();
    return !x_hub->waiting;
  });
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
