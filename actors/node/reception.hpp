#pragma once

// Reception: a node's only published actor. Looks at who comes, and lets sessions be started.
//
//   hears   a hello, as a letter   -> welcome, as a letter, and a session where it may come in
//           leave                  the node drains: nobody comes in any more, all are told
//   child   temporary, of the node's job supervisor: without it the node ends, and whoever started
//           the node starts it again

#include "actors/node/session.hpp"

#include <atomic>
#include <set>
#include <utility>

namespace viva::actors::node {

/// Sessions of one node: jobs, and lanes lent to pipelines. Each has a thread.
inline constexpr std::size_t sessions_max = 64;

struct reception_options {
  std::shared_ptr<const node_facts> facts;
  caf::actor jobs; ///< The supervisor of sessions.
  std::function<welcome()> look; ///< How the node is.
  std::shared_ptr<std::atomic<std::uint32_t>> sessions; ///< How many there are.
};

struct reception_state {
  /// Of a coordinator's life, and which of its meetings.
  using meeting = std::pair<std::uint64_t, std::uint64_t>;
  struct visit {
    caf::actor session;
    meeting of;
  };
  reception_options options;
  std::map<caf::actor_addr, visit> sessions;
  std::set<meeting> here;   ///< Of them, and of sessions asked for that are not up yet.
  std::uint64_t visits = 0;
  bool drains = false;
  static inline const char* name = "reception";
};

caf::behavior reception(caf::stateful_actor<reception_state>* self, reception_options options);

} // namespace viva::actors::node
