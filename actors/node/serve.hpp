#pragma once

// Serve: the life of a node. The library's door for `viva node`.
//
//   root  rest_for_one
//    ├─ journal            of a process that keeps none
//    ├─ lanes              one_for_one: as in a process that runs its own jobs (tree.hpp)
//    ├─ jobs               dynamic: the reception, and one session for each coordinator; temporary
//    └─ meters

#include "actors/job.hpp"

#include <atomic>
#include <functional>
#include <string>

namespace viva {

struct node_spec {
  std::string listen; ///< HOST:PORT; port 0: one that the system chooses.
  std::string roots;  ///< Absolute folders with colons between: what it reads and writes below.
  std::string scratch; ///< Folder for what it is brought; empty: one for temporary files.
  job_limits limits;  ///< Lanes, memory, isolation, tls, insecure.
  bool allow_faults = false;
  std::string claims; ///< A fault: says that it is this build.
  std::string claimed_attention; ///< A fault: that it computes attention so.
  std::chrono::seconds drain{30}; ///< What is in hand may take so long once it is told to leave.
};

struct node_observer {
  std::function<void(const std::string& address)> on_up;
  /// Set by a signal handler: no new work, and it returns when what it has is done.
  const std::atomic<bool>* leave = nullptr;
};

/// Serves until it is told to leave; never throws.
expected<void> run_node(const node_spec&, const node_observer&);

} // namespace viva
