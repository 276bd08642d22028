#include "actors/collector.hpp"

#include <caf/all.hpp>

#include <algorithm>
#include <cmath>
#include <map>

namespace viva::actors {

double latency_histogram::quantile_ms(const counts& all, double q) noexcept {
  std::uint64_t total = 0, seen = 0;
  for (const auto n : all)
    total += n;
  const auto rank = static_cast<std::uint64_t>(std::ceil(q * static_cast<double>(total)));
  for (std::size_t i = 0; i < all.size(); ++i)
    if ((seen += all[i]) >= rank && all[i] > 0) {
      const auto octave = i / 8;
      const double low = octave == 0 ? double(i) : std::ldexp(double(8 + i % 8), int(octave) - 1);
      const double width = octave == 0 ? 1 : std::ldexp(1.0, int(octave) - 1);
      return (low + width / 2) / 1000;
    }
  return 0;
}

snapshot read_meters(const meter_board& board) {
  struct total {
    lane_report report;
    latency_histogram::counts tickets{};
    std::uint64_t lives = 0;
  };
  std::map<std::string, total> lanes;
  for (const auto& meter : board.all()) {
    auto& lane = lanes[meter->lane];
    lane.report.shards += meter->shards.load(std::memory_order_relaxed);
    lane.report.bytes += meter->bytes.load(std::memory_order_relaxed);
    lane.report.busy_seconds
      += static_cast<double>(meter->busy_ns.load(std::memory_order_relaxed)) * 1e-9;
    lane.report.peak_rss_bytes
      = std::max(lane.report.peak_rss_bytes, meter->peak_rss.load(std::memory_order_relaxed));
    meter->tickets.merge_into(lane.tickets);
    ++lane.lives;
  }
  snapshot result;
  for (auto& [id, lane] : lanes) {
    lane.report.id = id;
    lane.report.restarts = lane.lives - 1;
    lane.report.p50_ms = latency_histogram::quantile_ms(lane.tickets, 0.50);
    lane.report.p99_ms = latency_histogram::quantile_ms(lane.tickets, 0.99);
    result.restarts += lane.report.restarts;
    result.lanes.push_back(std::move(lane.report));
  }
  return result;
}

caf::behavior collector(caf::event_based_actor*, std::shared_ptr<const meter_board> board) {
  return {
    [board = std::move(board)](const take_snapshot&) { return read_meters(*board); },
  };
}

} // namespace viva::actors
