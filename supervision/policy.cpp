#include "supervision/policy.hpp"

#include <algorithm>

namespace viva::supervision {

using std::chrono::duration_cast;
using std::chrono::floor;
using std::chrono::seconds;

restart_window::restart_window(std::uint32_t intensity, milliseconds period, bool whole_seconds)
    : x_period(period), x_whole_seconds(whole_seconds), x_intensity(intensity) {
}

bool restart_window::admit(time_point now) {
  if (x_intensity == 0)
    return false;
  if (x_count < x_intensity) { // the ring grows on demand: intensity may be a million
    x_ring.push_back(now);
    ++x_count;
    return true;
  }
  // With n restarts remembered, this one is the (n + 1)-th: too many if the oldest still counts.
  const auto oldest = x_ring[x_next];
  const auto age = x_whole_seconds
                       ? duration_cast<milliseconds>(floor<seconds>(now.time_since_epoch())
                                                     - floor<seconds>(oldest.time_since_epoch()))
                       : floor<milliseconds>(now - oldest);
  if (age <= x_period)
    return false;
  x_ring[x_next] = now;
  x_next = x_next + 1 == x_ring.size() ? 0 : x_next + 1;
  return true;
}

milliseconds backoff::next(const backoff_options& options, time_point up_since, time_point now,
                           std::minstd_rand& random) {
  if (up_since != time_point{} && now - up_since >= options.healthy)
    x_failures = 0;
  const auto failures = x_failures++;
  if (failures == 0 || options.base.count() <= 0)
    return milliseconds{0};
  const auto doublings = std::min<std::uint32_t>(failures - 1, 30);
  const auto ceiling = std::min<std::int64_t>(
      options.cap.count(), options.base.count() * (std::int64_t{1} << doublings));
  return milliseconds{std::uniform_int_distribution<std::int64_t>{0, ceiling}(random)};
}

start_bucket::start_bucket(std::uint32_t starts_per_s, std::uint32_t burst)
    : x_interval(std::chrono::nanoseconds{1'000'000'000} / std::max(starts_per_s, 1u)),
      x_slack(x_interval * (std::max(burst, 1u) - 1)) {
}

milliseconds start_bucket::take(time_point now) {
  // The generic cell rate algorithm (ITU-T I.371): one time point instead of a counter and a
  // refill.
  const auto earliest = x_due - x_slack;
  x_due = std::max(x_due, now) + x_interval;
  return earliest <= now ? milliseconds{0} : std::chrono::ceil<milliseconds>(earliest - now);
}

} // namespace viva::supervision
