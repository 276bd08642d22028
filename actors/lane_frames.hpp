#pragma once

// What the port of a lane process and that process say to each other (supervision/channel.hpp).
//
//   port → lane   lease     until when the job of the next assign may be written to (lease.hpp)
//   port → lane   assign    the job: an assignment
//   port → lane   work      one batch: number, tasks with what they are told
//   lane → port   receipts  of one batch, in the order of its tasks
//
// What does not fit a small frame lies in a sealed memfd that goes along: names of many tensors,
// the scales of a search. Tensor bytes never do: sources are mapped, outputs written in place.

#include "actors/messages.hpp"
#include "supervision/channel.hpp"

#include <chrono>
#include <string>
#include <vector>

namespace viva::actors {

namespace lane_kind {
inline constexpr std::uint16_t assign = supervision::frame_kind::first_free, work = assign + 1,
                               receipts = assign + 2, lease = assign + 3;
} // namespace lane_kind

/// Ways for a lane process to end on purpose.
enum class lane_fault : std::uint8_t {
  none, raise, crash, abort, hang, oom, garbage, exit,
  sticky,    ///< As if a device had broken: exit 71.
  no_memory, ///< Its device, where it has one, has no memory for this shard.
};

struct lane_task {
  shard_task task;
  lane_fault fault = lane_fault::none;
};

struct work_order {
  std::uint64_t number = 0;
  std::vector<lane_task> tasks;
};

struct lane_receipt {
  shard_receipt receipt;
  std::chrono::nanoseconds took{0};
};

struct work_receipts {
  std::uint64_t number = 0;
  std::uint64_t peak_rss = 0; ///< Bytes that the lane process has had in memory at most so far.
  std::vector<lane_receipt> shards;
};

/// A frame of these bytes, however many. Fails where the system gives no memfd.
expected<supervision::frame> pack(std::uint16_t kind, std::string bytes);
/// The other way. Believes nothing: an attached file that cannot be one of ours is refused.
expected<std::string> unpack(const supervision::frame&);

std::string encode(const work_order&);
std::string encode(const work_receipts&);
/// Nothing where the bytes are not exactly one.
std::optional<work_order> decode_order(std::string_view bytes);
std::optional<work_receipts> decode_receipts(std::string_view bytes);

} // namespace viva::actors
