#include "actors/lane_trouble.hpp"

namespace viva::actors {
namespace {

std::string known(const std::string& reason) {
  return reason.empty() ? "a reason unknown" : reason;
}

} // namespace

std::optional<error> lane_trouble::ended(const std::string& lane, const std::string& reason) {
  x_last_end = lane + " ended last, of " + known(reason);
  const auto ends = ++x_ends[lane];
  if (ends <= x_ends_max)
    return std::nullopt;
  return error{errc::job_failed,
               lane + " ended " + std::to_string(ends)
                 + " times while no lane brought anything home, the last time of " + known(reason)
                 + ". What is done is kept: mend that, and run the same command again"};
}

void lane_trouble::isolation_refused(const std::string& reason) {
  if (x_no_isolation.empty())
    x_ticks = 0;
  x_no_isolation = known(reason);
  x_refused = true;
}

error lane_trouble::gone(const char* whom) const {
  return {errc::job_failed,
          std::string(whom) + " came up, for too long ("
            + (x_last_end.empty() ? "none ever was" : x_last_end)
            + "). What is done is kept: mend that, and run the same command again"};
}

std::optional<error> lane_trouble::tick(bool no_isolation, bool no_lane) {
  x_alone = no_isolation ? x_alone + 1 : 0;
  x_away = no_lane ? x_away + 1 : 0;
  if (x_away_max != 0 && x_away > x_away_max)
    return gone("no lane");
  if (x_alone > x_alone_max)
    return gone("no lane for shards that killed others");
  return no_isolation ? tick_refused() : std::nullopt;
}

std::optional<error> lane_trouble::tick_refused() {
  if (x_no_isolation.empty())
    return std::nullopt;
  if (std::exchange(x_refused, false))
    x_asked = false;
  if (++x_ticks <= x_ticks_max)
    return std::nullopt;
  return error{errc::job_failed, "shards that killed lanes were to run on a lane of their own, and "
                                 "none could be started: "
                                   + x_no_isolation
                                   + ". What is done is kept: run the same command again"};
}

} // namespace viva::actors
