// A batch is filled: which views go into it, where they lie, where their planes will.

#include "actors/pipeline/answering.hpp"
#include "actors/pipeline/stream_core.hpp"

#include <algorithm>
#include <utility>

namespace viva::actors {
namespace {

/// From its first byte to its last.
std::uint64_t source_bytes(const tensor_view& view) {
  return (view.rows - 1) * view.step() + view.cols * kernels::bytes_of(view.type);
}

/// What a copy takes, between others.
std::uint64_t copied_bytes(const tensor_view& view) {
  return (view.values() * kernels::bytes_of(view.type) + 63) / 64 * 64;
}

} // namespace

bool stream_core::pull() {
  if (x_view < x_views_count)
    return true;
  if (x_ended)
    return false;
  std::size_t given = 0;
  x_view = 0;
  try {
    given = x_source(x_views);
  } catch (...) {
    x_thrown = caught("the source of the stream");
    x_views.front() = {};
    x_views_count = 1;
    x_ended = true;
    x_none_yet = false;
    return true;
  }
  x_none_yet = given == none_yet;
  x_views_count = x_none_yet ? 0 : std::min(x_views.size(), given);
  x_short = x_views_count < x_views.size();
  x_ended = given == 0;
  return x_views_count != 0;
}

/// Takes views until the batch is full, or the source has no more at once and lanes have little to
/// do: then those it has do not wait for others. False where there are none.
bool stream_core::fill(stream_batch& batch) {
  batch.clear();
  batch.first_index = x_index;
  x_follows = nullptr;
  const auto enough = [&] {
    return batch.tensors == x_batch_tensors
           || (batch.tensors != 0 && may_wait() && x_hub->under_way.load() <= x_hub->wake_at);
  };
  while (!enough() && pull()) {
    if (follow(batch))
      continue;
    if (!place(batch, x_views[x_view]))
      break;
    ++x_view;
  }
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

/// How many more of the shape that `place` had last fit, behind the last one, before `place` must
/// look: limits, memory that is to be copied.
std::uint64_t stream_core::room_to_follow(const stream_batch& batch) const {
  const auto bytes = x_checked_map.total;
  const auto step = x_checked.rows * x_checked.step();
  const auto fit = [](std::uint64_t used, std::uint64_t all, std::uint64_t each) {
    return used < all ? (all - used) / each : 0;
  };
  auto room = std::min<std::uint64_t>(x_batch_tensors - batch.tensors,
                                      fit(batch.bytes_used, x_batch_bytes, bytes));
  room = std::min(room, x_options.into.empty() ? fit(batch.slab_bytes() + 63, x_slab_max, bytes)
                                               : fit(x_into, x_options.into.size(), bytes));
  if (x_shares != nullptr) {
    const auto* const region = batch.lies.back().get();
    const auto* const end = region == nullptr ? nullptr : region->data() + region->size();
    // Behind the end where the last row had no room for what lies between rows.
    room = region == nullptr || x_follows >= end
             ? 0
             : std::min(room, static_cast<std::uint64_t>(end - x_follows) / step);
  }
  return room;
}

/// The many: those that lie behind the run that `place` began last join it. False where the next
/// does not, or where `place` must look at it.
bool stream_core::follow(stream_batch& batch) {
  if (x_follows == nullptr || x_views[x_view].data != x_follows)
    return false;
  const auto step = x_checked.rows * x_checked.step();
  const auto last = x_view + std::min<std::uint64_t>(room_to_follow(batch), x_views_count - x_view);
  auto at = x_view;
  for (auto* next = x_follows; at != last; ++at, next += step) {
    const auto& view = x_views[at];
    if (view.data != next || view.rows != x_checked.rows || view.cols != x_checked.cols
        || view.row_bytes != x_checked.row_bytes || view.type != x_checked.type)
      break;
  }
  const auto count = static_cast<std::uint32_t>(at - x_view);
  const auto bytes = count * x_checked_map.total;
  batch.runs.back().count += count;
  batch.tensors += count;
  batch.bytes_used += bytes;
  x_into += x_options.into.empty() ? 0 : bytes;
  x_follows += count * step;
  x_view = at;
  return count != 0;
}

/// A lane brings long rows that are apart together, in memory of its own: as many lanes at a time
/// as there were such tensors. It is not waited for: others may hold what is left of the budget,
/// and want what this stream holds.
expected<void> stream_core::pay_for_rows(const tensor_view& view, std::uint32_t slot) {
  const auto most = std::max(x_rows_most, x_checked_together);
  const auto bytes = std::min<std::uint64_t>(x_rows_apart + 1, x_floor->lanes) * most;
  if (bytes > x_rows_bytes) {
    auto more = x_floor->room->admit({bytes - x_rows_bytes, 0}, on_full::refuse, x_options.until);
    if (!more)
      return fail(errc::over_budget,
                  "tensor " + std::to_string(x_index + slot) + ": its " + std::to_string(view.rows)
                    + " rows are apart, and lanes need " + std::to_string(bytes)
                    + " bytes to bring them together; " + more.error().text);
    x_rows_leases.push_back(std::move(*more));
    x_rows_bytes = bytes;
  }
  x_rows_most = most;
  ++x_rows_apart;
  return {};
}

/// False where the batch has enough without it.
bool stream_core::place(stream_batch& batch, const tensor_view& view) {
  const auto slot = batch.tensors;
  if (x_thrown.code != errc::ok)
    return refuse(batch, view, x_thrown);
  const bool same = x_checked.data != nullptr && view.rows == x_checked.rows
                    && view.cols == x_checked.cols
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
    x_checked_together = together_bytes(x_how, view);
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
          || batch.slab_bytes() + bytes + copied > x_slab_max))
    return false;
  const bool apart = x_broken.code == errc::ok && x_checked_together != 0 && copied == 0;
  if (apart)
    if (auto paid = pay_for_rows(view, slot); !paid)
      return refuse(batch, view, paid.error());
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
  const bool joins = x_broken.code == errc::ok && !apart; // else not checked, or each is paid for
  x_follows = joins ? view.data + view.rows * view.step() : nullptr;
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

} // namespace viva::actors
