#pragma once

// Link: what a coordinator has with one node. Finds it, again whenever it was lost, gives it the
// job, and starts a remote lane in the lane supervisor for each life of a lane there.
//
//   hears   letters       from the node's session (letters.hpp); those of another stamp are dropped
//           lane_says     from remote lanes: work, passed on
//           signs of life, and what came and went over the bulk path, from their threads
//   asks    the node's reception: hello; the lane supervisor: start_child
//   ends    when stopped
//   child   permanent, of the supervisor of links; detached, because finding a node blocks
//
// While it has a session it watches the node's signs of life (liveness.hpp), and gives up one that
// shows none, or that has work of a lane for twenty times as long as one may stand still without a
// word of it: whoever beats may do nothing else. So it does one whose lanes have no time to write
// into shared files (leases.hpp). Where the node does not see the job's files, errands carry them.
//
// A link retries a connection and restarts nobody: lanes of a lost node end with `node_lost`, which
// blames no work, and the conductor runs elsewhere what they had.

#include "actors/messages.hpp"
#include "actors/meter.hpp"
#include "actors/node/address.hpp"
#include "actors/node/board.hpp"
#include "actors/node/errands.hpp"
#include "actors/node/letters.hpp"
#include "actors/node/liveness.hpp"
#include "actors/node/meeting.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/stateful_actor.hpp>

#include <functional>
#include <map>
#include <memory>

namespace viva::actors::node {

struct link_options {
  address where;
  site_ptr site; ///< Its assignment is what the node is given.
  std::function<caf::actor()> lanes; ///< The lane supervisor of now.
  std::shared_ptr<board> nodes;
  std::shared_ptr<meter_board> meters;
  std::shared_ptr<liveness_watch> watch;
  std::shared_ptr<const freight> goods{}; ///< Null: nodes see the same files.
  std::shared_ptr<network> threads{};     ///< Of the bulk path, with goods.
  tls_ptr security{};
  std::shared_ptr<claims> of_job{}; ///< With goods; of all links of the job.
  std::chrono::seconds stall{30};   ///< As port_options has it.
};

struct link_state {
  struct seat {
    std::uint32_t life = 0;
    caf::actor who; ///< Null until it is started.
    /// What the node owes receipts for, by the number of the batch: bytes of its largest shard.
    std::map<std::uint64_t, std::uint64_t> owes;
    unsigned quiet = 0; ///< Looks since it was given that, or the node said something of it.
  };
  /// A lane that ended, until what it did is fetched; and its next life, which comes after.
  struct departure {
    lane_news down;
    std::optional<lane_news> up;
  };
  link_options options;
  std::string name_of_node; ///< As it was said on the command line.
  stamp now;              ///< Of the node that it has something with; incarnation 0: with none.
  caf::actor session; ///< Null where it has none.
  std::uint64_t watched = 0;     ///< By this number.
  bool assigned = false;  ///< The node has the job.
  std::uint32_t lanes_there = 0; ///< As its welcome said.
  bool drains = false;    ///< The node wants to leave: no lane is started any more.
  std::map<std::uint32_t, seat> seats; ///< By the node's number of the lane.
  std::map<std::uint32_t, unsigned> fences; ///< In a row, by that number; see `fences_max`.
  std::unique_ptr<errands> carries;    ///< Where the node does not see the job's files.
  std::map<std::uint32_t, departure> gone; ///< By the node's number of the lane.
  pauses until_next;
  static inline const char* name = "link";

  ~link_state();
  /// What the node has at work it may write, into files that all see, until its lease is over: the
  /// output gets no name before. Called before anybody can be given that work.
  void leave_time_to_write();
};

/// How often a lane may have to leave a job's files alone (`fenced`) with no work of its node done
/// in between. The node is parted from then, as one that refuses: else it would be given, again and
/// again, what it must not write.
inline constexpr unsigned fences_max = 3;

caf::behavior link(caf::stateful_actor<link_state>* self, link_options options);

} // namespace viva::actors::node
