#pragma once

// What the two halves of a link are to each other: its connection (link.cpp), its lanes
// (link_lanes.cpp).

#include "actors/node/leases.hpp"
#include "actors/node/link.hpp"
#include "actors/node/remote_lane.hpp"

#include <caf/event_based_actor.hpp>

namespace viva::actors::node {

using link_ptr = caf::stateful_actor<link_state>*;

/// The supervisor had the life before not buried yet.
struct start_again {
  std::uint64_t join = 0;
  std::uint32_t lane = 0;
};

// link.cpp
void tell(link_ptr self, word what, std::string body);
/// A file that a machine cannot read or write: its own problem until every node has it. Another
/// disk may have room, another mount of a shared one may work.
constexpr bool is_of_files(errc code) {
  return code == errc::disk_full || code == errc::cannot_write || code == errc::unreadable;
}
/// Lets the node go, whatever it had, and looks for it again soon.
void lose_node(link_ptr self, const std::string& why);
/// The same where the problem may be over soon: a node that leaves, or is full just now, need not
/// end the job. Else it counts as one that refuses.
void heed(link_ptr self, const error& problem);
/// The same of the job's own files, which it cannot read or write where others may.
void heed_files(link_ptr self, const error& problem);
/// This lane was fenced `fences_max` times in a row: the node is let go, and counts as one that
/// refuses until work of it comes home.
void heed_fences(link_ptr self, std::uint32_t lane);
/// Goes on unless it brought a problem; then the node is let go.
inline void mind(link_ptr self, const error& problem) {
  if (problem.code != errc::ok)
    heed(self, problem);
}

// link_lanes.cpp
/// Nobody may speak for two lives of a lane, nor for more lanes than a node has: one would be
/// forgotten with all it was given.
bool may_come(const link_state& state, const lane_news& news);
void lane_came(link_ptr self, const lane_news& news);
void lane_went(link_ptr self, const lane_news& news);
void lane_left_us(link_ptr self, const lane_left& what);
void start_again_lane(link_ptr self, const start_again& what);
void take_receipts(link_ptr self, parcel what);
/// The node said something of this batch, or bytes of it moved.
void note_progress(link_state& state, std::uint64_t batch);
/// Once a second: gives up a node that has been quiet for too long about what it was given.
void look_at_lanes(link_ptr self);
/// Receipts to who speaks for that life of a lane.
void deliver(link_ptr self, std::uint32_t lane, std::uint32_t life, std::string receipts);
void pass_on(link_ptr self, const lane_says& what);
void lose_seats(link_ptr self, const std::string& why);
/// The node goes once its last session has.
void part_if_drained(link_ptr self);

} // namespace viva::actors::node

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::start_again)
