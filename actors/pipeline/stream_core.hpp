#pragma once

// Stream core: fills batches from the source, sends them, takes them back, all on the thread that
// iterates.

#include "actors/pipeline/house.hpp"
#include "actors/pipeline/stream.hpp"
#include "actors/pipeline/stream_batch.hpp"

#include <deque>
#include <memory>
#include <vector>

namespace viva::actors {

class stream_core {
public:
  stream_core(std::shared_ptr<pipeline_floor>, expected<kernels::recipe>, tensor_source,
              stream_options);
  ~stream_core();
  stream_core(const stream_core&) = delete;

  /// To the next tensor behind those that `more` counts.
  bool step();
  stream_item item() const;
  /// Good results of the same shape that lie behind that of `item`, side by side.
  std::uint32_t more() const noexcept {
    return x_more;
  }
  void cancel();
  /// Tensors of the source that are in batches, or read.
  std::uint64_t taken() const noexcept {
    return x_index;
  }

private:
  bool next_batch();
  bool send_more();
  bool fill(stream_batch&);
  bool pull();
  bool may_wait() const noexcept { // in the source, when the next view is wanted
    return x_short && x_view == x_views_count && !x_ended;
  }
  bool follow(stream_batch&);
  std::uint64_t room_to_follow(const stream_batch&) const;
  bool place(stream_batch&, const tensor_view&);
  bool refuse(stream_batch&, const tensor_view&, error);
  expected<void> pay_for_rows(const tensor_view&, std::uint32_t slot);
  void flush();
  void look_at_clock();
  const std::shared_ptr<shared_region>& region_of(const tensor_view&, std::uint64_t bytes);
  bool make_room(stream_batch&, std::uint64_t bytes);
  void receive();
  void arrive(stream_batch*);
  void collect();
  stream_batch* in_turn();
  void lease();

  const std::shared_ptr<pipeline_floor> x_floor;
  const stream_options x_options;
  const tensor_source x_source;
  error x_broken; // of every tensor; code ok: none
  kernels::recipe x_how;
  std::shared_ptr<stream_hub> x_hub;
  budget::lease x_lease;
  std::vector<budget::lease> x_rows_leases; // for rows that lanes bring together
  std::uint64_t x_rows_bytes = 0, x_rows_most = 0, x_rows_apart = 0; // all, one's, tensors
  std::uint64_t x_bytes_max = 0, x_bytes = 0; // of slabs
  std::uint64_t x_slab_max = 0; // of one that has more than one tensor, so that all lanes have some
  std::uint32_t x_regions = 0;                // slabs that lane processes map
  std::uint64_t x_batch_bytes = 0, x_into = 0;
  std::uint32_t x_batch_tensors = 1, x_window = 1; // batches under way or unread
  shared_table* const x_shares; // null: lanes are threads
  shared_table::place x_into_at, x_near; // where `into` lies; the region a view was found in last

  std::vector<std::shared_ptr<stream_batch>> x_batches;
  std::vector<stream_batch*> x_free;
  stream_batch* x_filled = nullptr; // has views, and no room for their results yet
  std::vector<unit_ptr> x_unsent;
  std::vector<stream_batch*> x_home;  // on their way from the hub
  std::vector<stream_batch*> x_ready; // home, not yet read, from x_ready_at on
  std::size_t x_ready_at = 0;
  std::vector<stream_batch*> x_slots; // the same in order: by sequence, modulo their number
  std::uint32_t x_out = 0;            // sent or unsent
  std::uint64_t x_sequence = 0, x_next = 0, x_index = 0;
  std::chrono::steady_clock::time_point x_now{}; // when the clock was looked at
  std::uint32_t x_unclocked = 0; // tensors read since

  std::vector<tensor_view> x_views; // pulled: the first x_views_count
  std::size_t x_views_count = 0, x_view = 0; // x_view: the first not yet placed
  bool x_ended = false, x_late = false; // late: the deadline has passed, and lanes know
  error x_thrown; // by the source: of the last view, which stands for what it did not give
  bool x_short = false, x_none_yet = false; // what the source gave last was less, was none_yet
  const std::byte* x_follows = nullptr; // where the last run's next tensor would lie
  tensor_view x_checked; // the last shape that passed, with its map
  plane_map x_checked_map;
  std::uint64_t x_checked_together = 0; // bytes of rows that a lane brings together for it

  stream_batch* x_current = nullptr;
  std::uint32_t x_slot = 0, x_run = 0, x_more = 0;
};

} // namespace viva::actors
