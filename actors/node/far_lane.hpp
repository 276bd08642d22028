#pragma once

// Far lane: a lane of a node as a pipeline's port has it, instead of a process (lane_peer.hpp).
// Regions stay here; of each order the bytes that it reads and the node has not are brought, and
// the bytes that it wrote fetched, before anybody hears that it is done.
//
//   port ──frames──► far lane ──bytes, then frames──► lent lane of the node
//        ◄──frames──          ◄──frames, then bytes──
//
// Until it has met its node it looks for it again and again; once met, whatever goes wrong is the
// end of this lane, and its port's supervisor starts another.
//
//   hears   frames, limits and ends from its peer; letters from the lent lane; signs of life, and
//           what came and went over the bulk path, from their threads
//   ends    with its peer's owner, told to or not; with the node
//   child   nobody's: its port owns it, hears of its end by the peer's events, and is restarted

#include "actors/node/board.hpp"
#include "actors/node/courier.hpp"
#include "actors/node/liveness.hpp"
#include "actors/node/meeting.hpp"
#include "actors/node/range_set.hpp"
#include "actors/pipeline/lane_peer.hpp"

#include <caf/stateful_actor.hpp>

#include <deque>
#include <map>

namespace viva::actors::node {

/// What all lanes of one node share.
struct far_node {
  address where;
  std::size_t lane = 0; ///< Of the pipeline: this one's line on the board.
  std::shared_ptr<board> nodes;
  std::shared_ptr<liveness_watch> watch;
  std::shared_ptr<network> threads;
  tls_ptr security;
};

/// A lane of that node for a port; `until_next` is the same for all its lives.
std::unique_ptr<lane_peer> make_far_lane(caf::actor_system& system, far_node node,
                                         std::shared_ptr<pauses> until_next);

struct far_lane_options {
  far_node node;
  std::shared_ptr<pauses> until_next;
  supervision::process_events tell;
};

struct far_lane_state {
  struct region {
    shared_file file;
    bool stays = false;
    range_set there; ///< The node has these bytes; of one that stays.
  };
  struct parcel_of_orders {
    std::vector<std::uint64_t> numbers; ///< Of the orders; the first stands for all.
    std::string bytes;
    std::vector<byte_range> writes;
    bool brought = false, sent = false, home = false;
    std::string receipts; ///< Empty until they came.
  };
  far_lane_options options;
  stamp now;
  caf::actor lane;           ///< Null while it looks for its node.
  std::string said;          ///< Why it is away, so that the log has it once.
  bool ready = false;        ///< It is lent.
  std::uint64_t watched = 0; ///< By this number.
  std::map<std::uint32_t, region> regions;
  std::deque<parcel_of_orders> frames; ///< In their order, until what they wrote is here.
  std::unique_ptr<courier> carries;
  supervision::milliseconds limit{0}; ///< Without progress; 0: none.
  bool looks = false;                 ///< At the clock, again and again.
  std::chrono::steady_clock::time_point moved{};
  static inline const char* name = "far_lane";

  ~far_lane_state();
};

} // namespace viva::actors::node
