#include "actors/pipeline/exposition.hpp"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <fstream>
#include <system_error>
#include <utility>
#include <vector>

namespace viva {

namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

/// Families of metrics, in the order in which they are shown.
class page {
public:
  void family(const char* name, MetricType type, const char* help) {
    x_families.push_back({name, help, type, {}});
  }
  /// One more metric of the last family.
  template <class Number>
  void add(Number value, std::vector<ClientMetric::Label> labels = {}) {
    ClientMetric metric;
    metric.label = std::move(labels);
    metric.counter.value = metric.gauge.value = static_cast<double>(value); // the type chooses
    x_families.back().metric.push_back(std::move(metric));
  }
  void summary(const char* name, const char* help, const latency_report& of) {
    family(name, MetricType::Summary, help);
    ClientMetric metric;
    metric.summary.sample_count = of.count;
    metric.summary.sample_sum = of.sum_seconds;
    metric.summary.quantile = {
      {0.5, of.p50_ms / 1e3}, {0.99, of.p99_ms / 1e3}, {0.999, of.p999_ms / 1e3}};
    x_families.back().metric.push_back(std::move(metric));
  }
  template <class Number>
  void counter(const char* name, const char* help, Number value) {
    family(name, MetricType::Counter, help);
    add(value);
  }
  template <class Number>
  void gauge(const char* name, const char* help, Number value) {
    family(name, MetricType::Gauge, help);
    add(value);
  }
  /// One metric for each of `all`, labelled by what `name_of` says.
  template <class Things, class Name, class Read>
  void each(const char* name, MetricType type, const char* help, const char* label,
            const Things& all, Name name_of, Read read) {
    family(name, type, help);
    for (const auto& one : all)
      add(read(one), {{label, name_of(one)}});
  }
  std::string text() const {
    return prometheus::TextSerializer{}.Serialize(x_families);
  }

private:
  std::vector<MetricFamily> x_families;
};

void show_lanes(page& out, const snapshot& m) {
  const auto lanes = [&](const char* name, MetricType type, const char* help, auto read) {
    out.each(name, type, help, "lane", m.lanes, [](const lane_report& l) { return l.id; }, read);
  };
  lanes("viva_shards_total", MetricType::Counter,
        "Shards that lanes have done; in a pipeline, tensors.",
        [](const lane_report& lane) { return lane.shards; });
  lanes("viva_source_bytes_total", MetricType::Counter, "Bytes of source that lanes have read.",
        [](const lane_report& lane) { return lane.bytes; });
  lanes("viva_busy_seconds_total", MetricType::Counter, "Time that lanes spent on tickets.",
        [](const lane_report& lane) { return lane.busy_seconds; });
  lanes("viva_lane_restarts_total", MetricType::Counter, "Lives of lanes after their first.",
        [](const lane_report& lane) { return lane.restarts; });
  out.each("viva_lane_deaths_total", MetricType::Counter, "Ends of lanes by reason.", "reason",
           m.deaths, [](const auto& death) { return death.first; },
           [](const auto& death) { return death.second; });
}

void show_methods(page& out, const snapshot& m) {
  const auto methods = [&](const char* name, MetricType type, const char* help, auto read) {
    out.each(name, type, help, "method", m.methods, [](const method_report& r) { return r.name; },
             read);
  };
  methods("viva_method_values_total", MetricType::Counter, "Values of source, by method.",
          [](const method_report& method) { return method.values; });
  methods("viva_method_busy_seconds_total", MetricType::Counter, "Time of lanes, by method.",
          [](const method_report& method) { return method.busy_seconds; });
  methods("viva_method_values_per_second", MetricType::Gauge,
          "Values a second since the look before.",
          [](const method_report& method) { return method.values_per_s; });
}

void show_queue(page& out, const queue_report& q) {
  out.counter("viva_tickets_total", "Tickets that lanes have done.", q.tickets);
  out.counter("viva_tickets_lost_total", "Tickets whose lane died.", q.tickets_lost);
  out.counter("viva_messages_total", "Messages to lanes.", q.messages);
  out.gauge("viva_lanes_up", "Lanes that live.", q.lanes_up);
  out.gauge("viva_tickets_waiting", "Tickets in line.", q.waiting);
  out.gauge("viva_tickets_running", "Tickets that lanes have.", q.running);
  out.gauge("viva_budget_used_bytes", "Bytes of results under way or not taken.", q.budget_bytes);
  out.gauge("viva_budget_used_tickets", "Submissions under way or not taken.", q.budget_tickets);
  out.counter("viva_collector_lives_total", "Lives of the collector.", q.collector_lives);
  out.gauge("viva_submits_waiting", "Submissions that wait for room.", q.submits_waiting);
  out.summary("viva_latency_seconds", "Of tensors in streams, from sent to received.", q.latency);
}

} // namespace

std::string to_prometheus(const snapshot& m) {
  page out;
  show_lanes(out, m);
  show_methods(out, m);
  out.summary("viva_ticket_seconds", "How long lanes worked on each ticket.", m.tickets);
  out.counter("viva_updates_total", "Totals that lanes told.", m.updates);
  out.counter("viva_updates_dropped_total", "Totals replaced by newer ones before they were read.",
              m.updates_dropped);
  if (m.queue)
    show_queue(out, *m.queue);
  return out.text();
}

expected<void> write_prometheus(const snapshot& m, const std::filesystem::path& path) {
  auto beside = path;
  beside += ".partial";
  std::ofstream out(beside, std::ios::binary | std::ios::trunc);
  out << to_prometheus(m);
  out.close();
  std::error_code why;
  if (out)
    std::filesystem::rename(beside, path, why);
  if (out && !why)
    return {};
  std::error_code ignored; // half of it is of no use to anybody
  std::filesystem::remove(beside, ignored);
  return fail(errc::cannot_write, path.string() + " cannot be written"
                                    + (why ? ": " + why.message() : std::string())
                                    + "; name a place in a writable folder that has room");
}

} // namespace viva
