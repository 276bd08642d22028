#include "actors/pipeline/exposition.hpp"

#include <spdlog/fmt/fmt.h>

#include <fstream>
#include <string_view>
#include <system_error>

namespace viva {

namespace {

class page {
public:
  void head(std::string_view name, std::string_view type, std::string_view help) {
    x_text += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  template <class Number>
  void line(std::string_view name, std::string_view labels, Number value) {
    x_text += labels.empty() ? fmt::format("{} {}\n", name, value)
                             : fmt::format("{}{{{}}} {}\n", name, labels, value);
  }
  template <class Number>
  void one(std::string_view name, std::string_view type, std::string_view help, Number value) {
    head(name, type, help);
    line(name, {}, value);
  }
  /// One line for each lane.
  template <class Read>
  void lanes(const pipeline_metrics& m, std::string_view name, std::string_view help, Read read) {
    head(name, "counter", help);
    for (const auto& lane : m.lanes)
      line(name, label("lane", lane.id), read(lane));
  }
  static std::string label(std::string_view name, std::string_view value) {
    std::string safe;
    for (const char c : value)
      safe += c == '\\' || c == '"' ? std::string{'\\', c} : c == '\n' ? "\\n" : std::string{c};
    return fmt::format("{}=\"{}\"", name, safe);
  }
  std::string take() {
    return std::move(x_text);
  }

private:
  std::string x_text;
};

} // namespace

std::string to_prometheus(const pipeline_metrics& m) {
  page out;
  out.lanes(m, "viva_tensors_total", "Tensors that lanes have done.",
            [](const pipeline_lane& lane) { return lane.tensors; });
  out.lanes(m, "viva_source_bytes_total", "Bytes of source that lanes have read.",
            [](const pipeline_lane& lane) { return lane.bytes; });
  out.lanes(m, "viva_busy_seconds_total", "Time that lanes spent on tickets.",
            [](const pipeline_lane& lane) { return lane.busy_seconds; });
  out.one("viva_tickets_total", "counter", "Tickets that lanes have done.", m.tickets);
  out.one("viva_tickets_lost_total", "counter", "Tickets whose lane died.", m.tickets_lost);
  out.one("viva_messages_total", "counter", "Messages to lanes.", m.messages);
  out.head("viva_lane_deaths_total", "counter", "Ends of lanes by reason.");
  for (const auto& [reason, count] : m.deaths)
    out.line("viva_lane_deaths_total", page::label("reason", reason), count);
  out.one("viva_lane_restarts_total", "counter", "Lives of lanes after their first.", m.restarts);
  out.one("viva_lanes_up", "gauge", "Lanes that live.", m.lanes_up);
  out.one("viva_tickets_waiting", "gauge", "Tickets in line.", m.waiting);
  out.one("viva_tickets_running", "gauge", "Tickets that lanes have.", m.running);
  out.one("viva_budget_used_bytes", "gauge", "Bytes of results under way or not taken.",
          m.budget_bytes_used);
  out.one("viva_submits_waiting", "gauge", "Submissions that wait for room.", m.submits_waiting);
  out.head("viva_latency_seconds", "summary", "Of tensors in streams, from sent to received.");
  out.line("viva_latency_seconds", page::label("quantile", "0.5"), m.latency_p50_ms / 1e3);
  out.line("viva_latency_seconds", page::label("quantile", "0.99"), m.latency_p99_ms / 1e3);
  out.line("viva_latency_seconds", page::label("quantile", "0.999"), m.latency_p999_ms / 1e3);
  out.line("viva_latency_seconds_count", {}, m.latency_count);
  return out.take();
}

expected<void> write_prometheus(const pipeline_metrics& m, const std::filesystem::path& path) {
  auto beside = path;
  beside += ".partial";
  std::ofstream out(beside, std::ios::binary | std::ios::trunc);
  out << to_prometheus(m);
  out.close();
  std::error_code why;
  if (out)
    std::filesystem::rename(beside, path, why);
  if (!out || why)
    return fail(errc::cannot_write, path.string() + " cannot be written"
                                      + (why ? ": " + why.message() : std::string()));
  return {};
}

} // namespace viva
