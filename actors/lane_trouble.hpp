#pragma once

// Lane trouble: how long a job bears that lanes end, or that one is not to be had. Pure.
//
// Ends that are a shard's fault lead into quarantine, and so to an end of the job. Others need not:
// a lane may die while it plans, or for want of its files, and would be restarted for ever; or its
// restarts fail, over and over, and nobody hears of it again.

#include "actors/policy_options.hpp"
#include "kernels/error.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

namespace viva::actors {

class lane_trouble {
public:
  explicit lane_trouble(const policy_options& options)
    : x_ends_max(options.lane_ends_max), x_ticks_max(options.isolation_ticks_max),
      x_alone_max(options.isolation_away_ticks_max), x_away_max(options.away_ticks_max) {
  }

  /// A lane ended and no shard got a strike for it. Counted by lane: of a thousand that are lost
  /// with their nodes none loops. An error where this one has ended too often since `came_home`.
  std::optional<error> ended(const std::string& lane, const std::string& reason);
  void came_home() {
    x_ends.clear();
  }

  /// True where the isolation lane is to be asked for now, as nobody did.
  bool asks_for_isolation() noexcept {
    return !std::exchange(x_asked, true);
  }
  /// For this reason, of which no shard is to blame: the system may be short of processes for a
  /// moment. The next `tick` asks again.
  void isolation_refused(const std::string& reason);
  void isolation_up() {
    x_no_isolation.clear();
  }
  /// While shards wait: `no_isolation`, for that lane, which is not up; `no_lane`, and none is.
  /// An error where that is so for too long.
  std::optional<error> tick(bool no_isolation, bool no_lane);

private:
  std::optional<error> tick_refused();

  error gone(const char* whom) const;

  std::uint32_t x_ends_max, x_ticks_max, x_alone_max, x_away_max;
  std::map<std::string, std::uint32_t> x_ends; ///< By lane.
  std::string x_no_isolation; ///< Why; empty where it was not refused since it was up.
  std::uint32_t x_ticks = 0;  ///< Since it was refused first.
  std::uint32_t x_alone = 0, x_away = 0; ///< Ticks without that lane, and without any.
  std::string x_last_end;     ///< The lane that ended last, and of what.
  bool x_asked = false, x_refused = false;
};

} // namespace viva::actors
