#include "actors/meter.hpp"

#include <cmath>

namespace viva::actors {

std::uint64_t latency_histogram::count() const noexcept {
  std::uint64_t total = 0;
  for (const auto n : x_counts)
    total += n;
  return total;
}

double latency_histogram::quantile_ms(double q) const noexcept {
  const auto rank = static_cast<std::uint64_t>(std::ceil(q * static_cast<double>(count())));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < x_counts.size(); ++i)
    if ((seen += x_counts[i]) >= rank && x_counts[i] > 0) {
      const auto octave = i / 8;
      const double low = octave == 0 ? double(i) : std::ldexp(double(8 + i % 8), int(octave) - 1);
      const double width = octave == 0 ? 1 : std::ldexp(1.0, int(octave) - 1);
      return (low + width / 2) / 1e6;
    }
  return 0;
}

latency_histogram shared_histogram::read() const noexcept {
  latency_histogram result;
  for (std::size_t i = 0; i < x_counts.size(); ++i)
    result.x_counts[i] = x_counts[i].load(std::memory_order_relaxed);
  result.x_sum_ns = x_sum_ns.load(std::memory_order_relaxed);
  return result;
}

void lane_meter::add(const work_note& what) {
  x_news = true;
  const auto ns = static_cast<std::uint64_t>(what.took.count());
  x_now.shards += what.shards;
  x_now.bytes += what.bytes;
  x_now.busy_ns += ns;
  x_now.tickets.add(what.took / what.tickets, what.tickets);
  if (what.method.empty())
    return;
  auto& all = x_now.methods;
  auto at = std::ranges::find(all, what.method, &method_totals::name);
  if (at == all.end())
    at = all.insert(all.end(), {what.method});
  at->values += what.values;
  at->bytes += what.bytes;
  at->busy_ns += ns;
}

void lane_meter::tell() {
  if (!x_news)
    return;
  x_news = false;
  ++x_now.updates;
  x_places[x_written] = x_now;
  const auto before = x_between.exchange(x_written | unread, std::memory_order_acq_rel);
  x_now.updates_dropped += (before & unread) != 0 ? 1 : 0;
  x_written = before & ~unread;
}

lane_totals lane_meter::read() const {
  const std::lock_guard lock{x_readers};
  if ((x_between.load(std::memory_order_relaxed) & unread) != 0)
    x_read = x_between.exchange(x_read, std::memory_order_acq_rel) & ~unread;
  return x_places[x_read];
}

std::shared_ptr<lane_meter> meter_board::hang(const std::string& lane) {
  const std::lock_guard lock{x_guard};
  auto& meter = x_meters[lane];
  if (!meter)
    meter = std::make_shared<lane_meter>(lane);
  return meter;
}

std::vector<std::shared_ptr<const lane_meter>> meter_board::all() const {
  const std::lock_guard lock{x_guard};
  std::vector<std::shared_ptr<const lane_meter>> result;
  for (const auto& [id, meter] : x_meters)
    result.push_back(meter);
  return result;
}

void meter_board::note_death(const std::string& reason) {
  const std::lock_guard lock{x_guard};
  ++x_deaths[reason.substr(0, reason.find(':'))];
}

std::map<std::string, std::uint64_t> meter_board::deaths() const {
  const std::lock_guard lock{x_guard};
  return x_deaths;
}

} // namespace viva::actors
