#include "actors/lane_trouble.hpp"

namespace viva::actors {
namespace {

std::string known(const std::string& reason) {
  return reason.empty() ? "a reason unknown" : reason;
}

} // namespace

std::optional<error> lane_trouble::ended(const std::string& lane, const std::string& reason) {
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

std::optional<error> lane_trouble::tick() {
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
