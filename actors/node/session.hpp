#pragma once

// Session: what a node has with one coordinator. Plays the conductor to the node's own lanes and
// passes on, in letters, what the coordinator's conductor and they have to say to each other.
//
//   hears   letters        from the link; those of another stamp are dropped
//           child_up, child_down from the node's lane supervisor; batch_receipt from its lanes
//           leave          the node drains
//   ends    with its link or the connection to it; where no job comes
//   child   temporary, of the node's job supervisor; detached, because it reads headers and syncs
//
// Lanes are told when it ends, and let the job's files go. One that is at work when the link is
// lost ends that work where it writes copies, which nobody reads any more, and its receipt finds
// nobody. Where it writes what others write, too, it may do so for as long as the coordinator's
// patience lasts (leases.hpp) or until the session ends, and ends itself (`fenced`) where it would
// write later. Meanwhile lanes are given nothing; what came and waits for longer than `held_max` is
// given back, as if its lane had been fenced, so that it can be done elsewhere.

#include "actors/lane_frames.hpp"
#include "actors/messages.hpp"
#include "actors/node/dock.hpp"
#include "actors/node/leases.hpp"
#include "actors/node/letters.hpp"
#include "actors/node/region_store.hpp"
#include "actors/pipeline/lane_peer.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/stateful_actor.hpp>

#include <atomic>
#include <chrono>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <vector>

namespace viva::actors::node {

/// What a node's receptions and sessions know of it.
struct node_facts {
  std::string build;
  std::vector<std::filesystem::path> roots;
  job_limits limits;                 ///< Memory and lanes of this machine.
  std::function<caf::actor()> lanes; ///< The lane supervisor of now.
  bool allow_faults = false;
  std::string claimed_attention; ///< A fault: instead of `attention_words`.
  std::shared_ptr<const depot> stores; ///< For jobs whose files this machine does not see.
  error no_room;                       ///< Why it has no scratch.
  /// Of sessions whose files this machine sees.
  std::shared_ptr<leases> rights = std::make_shared<leases>();
  /// Who works for a lane that is lent to a pipeline.
  std::function<std::unique_ptr<lane_peer>()> tensor_lane = make_own_peer;
  std::shared_ptr<region_use> tensors = std::make_shared<region_use>(); ///< Of pipelines, here.
};

struct session_options {
  std::shared_ptr<const node_facts> facts;
  caf::actor link;
  stamp with;
  lease::time since{0}; ///< When its hello was here.
};

struct session_state {
  struct seat {
    std::uint32_t number = 0, life = 0;
    caf::actor who{}; ///< Null while it is down.
    lane_mark mark{};
    std::size_t in_hand = 0; ///< Batches.
  };
  /// A batch whose bytes are on their way.
  struct expected_work {
    std::uint32_t lane = 0, life = 0;
    work_order order;
  };
  /// A batch that may not be begun now.
  struct held_work {
    expected_work what;
    std::chrono::steady_clock::time_point since;
  };
  session_options options;
  std::optional<assign> job;   ///< Until its seeds are there.
  std::unique_ptr<dock> copies; ///< Null where this machine sees the job's files.
  site_ptr site;
  std::map<std::uint64_t, expected_work> coming; ///< By the number of the batch.
  std::map<std::string, seat> seats; ///< By the id of the lane here.
  bool has_right = false;            ///< It was granted a lease, which ends with it.
  std::deque<held_work> held;        ///< Until its lanes may write again.
  std::vector<parcel> unsent;        ///< Receipts whose bytes are not known to be durable.
  bool flushes = false;
  static inline const char* name = "session";

  ~session_state();
};

caf::behavior session(caf::stateful_actor<session_state>* self, session_options options);

inline constexpr std::chrono::milliseconds held_max = lease_length;

struct leave {};

} // namespace viva::actors::node

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::leave)
