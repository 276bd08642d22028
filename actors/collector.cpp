#include "actors/collector.hpp"

#include "supervision/spawn.hpp"
#include "supervision/supervisor.hpp"

#include <caf/all.hpp>

#include <map>
#include <thread>

namespace viva::actors {
namespace {

using clock = std::chrono::steady_clock;

constexpr std::uint32_t restarts_max = 1000; // within restarts_period
constexpr supervision::milliseconds restarts_period{10'000};
constexpr supervision::backoff_options backoff{supervision::milliseconds{1},
                                               supervision::milliseconds{50},
                                               supervision::milliseconds{100}};
constexpr auto rate_over_min = std::chrono::milliseconds{100};
constexpr auto answer_limit = std::chrono::seconds{5};
constexpr auto between_tries = std::chrono::milliseconds{1};

/// Values of each method at one moment.
struct sample {
  clock::time_point at = clock::now();
  std::map<std::string, std::uint64_t> values;

  explicit sample(const snapshot& from) {
    for (const auto& method : from.methods)
      values[method.name] = method.values;
  }
};

/// Rates against the newest of two samples that is old enough; the first is of the actor's start.
class rates {
public:
  explicit rates(const snapshot& first) : x_old(first), x_new(first) {
  }
  void fill(snapshot& what) {
    const sample now(what);
    if (now.at - x_new.at >= rate_over_min)
      x_old = x_new;
    const auto seconds = std::chrono::duration<double>(now.at - x_old.at).count();
    const bool known = now.at - x_old.at >= rate_over_min; // not of one that has just begun
    for (auto& method : what.methods)
      method.values_per_s
        = known ? double(method.values - x_old.values[method.name]) / seconds : 0;
    if (now.at - x_new.at >= rate_over_min)
      x_new = now;
  }

private:
  sample x_old, x_new;
};

lane_report report_of(const std::string& id, const lane_totals& lane) {
  lane_report result;
  result.id = id;
  result.shards = lane.shards;
  result.bytes = lane.bytes;
  result.restarts = lane.lives > 0 ? lane.lives - 1 : 0;
  result.busy_seconds = static_cast<double>(lane.busy_ns) * 1e-9;
  result.p50_ms = lane.tickets.quantile_ms(0.50);
  result.p99_ms = lane.tickets.quantile_ms(0.99);
  result.p999_ms = lane.tickets.quantile_ms(0.999);
  result.peak_rss_bytes = lane.peak_rss;
  return result;
}

} // namespace

latency_report report_of(const latency_histogram& all) {
  return {all.count(), all.sum_seconds(), all.quantile_ms(0.50), all.quantile_ms(0.99),
          all.quantile_ms(0.999)};
}

snapshot read_meters(const meter_board& board) {
  snapshot result;
  latency_histogram tickets;
  std::map<std::string, method_report> methods;
  for (const auto& meter : board.all()) {
    const auto lane = meter->read();
    result.lanes.push_back(report_of(meter->lane, lane));
    result.shards += lane.shards;
    result.bytes += lane.bytes;
    result.restarts += result.lanes.back().restarts;
    result.updates += lane.updates;
    result.updates_dropped += lane.updates_dropped;
    tickets.merge(lane.tickets);
    for (const auto& each : lane.methods) {
      auto& sum = methods[std::string(each.name)];
      sum.values += each.values;
      sum.bytes += each.bytes;
      sum.busy_seconds += static_cast<double>(each.busy_ns) * 1e-9;
    }
  }
  for (auto& [name, sum] : methods) {
    sum.name = name;
    result.methods.push_back(std::move(sum));
  }
  result.tickets = report_of(tickets);
  result.deaths = board.deaths();
  return result;
}

caf::behavior collector(caf::event_based_actor*, std::shared_ptr<const meter_board> board,
                        gauge_function gauges) {
  auto pace = std::make_shared<rates>(read_meters(*board));
  return {
    [board = std::move(board), gauges = std::move(gauges), pace](const take_snapshot& order) {
      auto result = read_meters(*board);
      if (gauges)
        result.queue = gauges();
      pace->fill(result);
      order.to->set_value(std::move(result));
    },
  };
}

supervision::child_spec meters_child(std::shared_ptr<const meter_board> board,
                                     gauge_function gauges,
                                     std::function<void(caf::actor)> on_start) {
  supervision::child_spec worker;
  worker.id = "collector";
  worker.start = [=](caf::event_based_actor* sup) {
    auto who = supervision::spawn(sup, collector, board, gauges);
    on_start(who);
    return supervision::start_result{std::move(who)};
  };
  supervision::child_spec spec;
  spec.id = "meters";
  spec.type = supervision::child_type::supervisor;
  spec.start = [worker](caf::event_based_actor* sup) {
    supervision::supervisor_options options;
    options.name = "meters";
    options.intensity = restarts_max;
    options.period = restarts_period;
    options.backoff = backoff;
    return supervision::starting(supervision::spawn_supervisor(sup, options, {worker}));
  };
  return spec;
}

// A message to one that has ended is destroyed, and with it the promise: that is told at once.
std::optional<snapshot> ask_collector(const std::function<caf::actor()>& who) {
  const auto until = clock::now() + answer_limit;
  while (clock::now() < until) {
    auto answer = std::make_shared<std::promise<snapshot>>();
    auto coming = answer->get_future();
    if (const auto now = who())
      caf::anon_send<caf::message_priority::high>(now, take_snapshot{std::move(answer)});
    answer.reset();
    try {
      if (coming.wait_until(until) == std::future_status::ready)
        return coming.get();
    } catch (const std::future_error&) { // it ended before it answered
      std::this_thread::sleep_for(between_tries);
    }
  }
  return std::nullopt;
}

} // namespace viva::actors
