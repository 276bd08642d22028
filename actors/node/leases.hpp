#pragma once

// Leases: what their coordinators leave a node's sessions of time to write into files that others
// write, too (--shared-fs). Which is which: by epoch and join.
//
//   node  ── beat 7, said at s ──►  coordinator    counts silence from when it came, later than s
//   node  ◄── "7 was heard"      ──  coordinator    the lease holds until s + 2.5 s
//
// A coordinator gives up, for silence, a node that it has not heard for 3.4 s
// (liveness_policy.hpp). Whatever the network did to the beats in between, and whichever way it
// was cut, 0.9 s lie between the end of the lease and the moment when others may be given the
// work: for one write that had begun, of a run (1 MiB) at most, and for clocks that go apart.
// Where it gives a node up sooner, for another reason, its output gets no name before 3.4 s have
// passed (board.hpp). What no clock can hold is a process that was stopped, or a disk that stood
// still, within that one write and for longer than that.

#include "actors/lease.hpp"
#include "actors/node/liveness_policy.hpp"

#include <map>
#include <mutex>

namespace viva::actors::node {

inline constexpr std::chrono::milliseconds last_write{900};
inline constexpr std::chrono::milliseconds lease_length = liveness_times{}.lost_after - last_write;

/// For any thread.
class leases {
public:
  /// `since`: before the coordinator can have begun to count silence. Refused where that meeting
  /// has one, which stays as it is.
  expected<lease_ptr> grant(std::uint64_t epoch, std::uint64_t join, lease::time since);
  /// The coordinator has heard what was said then.
  void heard(std::uint64_t epoch, std::uint64_t join, lease::time said);
  /// Of the session that it was granted to, which ends.
  void end(std::uint64_t epoch, std::uint64_t join, lease::time now = lease::now());
  struct news {
    std::size_t ran_out = 0, hold_again = 0;
  };
  /// Since the last look.
  news look(lease::time now);
  /// How often one was seen to have run out.
  std::uint64_t ran_out() const;

private:
  struct entry {
    std::shared_ptr<lease> what;
    bool held = true; ///< At the last look.
  };
  mutable std::mutex x_guard;
  std::map<std::pair<std::uint64_t, std::uint64_t>, entry> x_all;
  std::uint64_t x_ran_out = 0;
  std::size_t x_ended = 0; ///< Of those that ran out: their sessions ended before a look.
};

} // namespace viva::actors::node
