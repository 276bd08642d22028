#include "cli/report.hpp"

#include "formats/json.hpp"
#include "formats/shown.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>

namespace viva::cli {

namespace {

using json = nlohmann::ordered_json;

json json_of(const kernels::metrics& m) {
  return {{"count", m.count},
          {"not_finite", m.not_finite},
          {"mse", m.mse},
          {"rmse", m.rmse},
          {"mae", m.mae},
          {"max_error", m.max_error},
          {"p50", m.p50},
          {"p90", m.p90},
          {"p99", m.p99},
          {"p999", m.p999},
          {"cosine", m.cosine},
          {"sqnr_db", std::isfinite(m.snr_db) ? json(m.snr_db) : json(nullptr)},
          {"rel_rms", m.rel_rms},
          {"outliers", m.outliers}};
}

json json_of(const tensor_report& tensor) {
  json result = {{"name", tensor.name},
                 {"method", tensor.method},
                 {"dtype", tensor.dtype},
                 {"shape", tensor.shape},
                 {"source_bytes", tensor.source_bytes},
                 {"output_bytes", tensor.output_bytes},
                 {"bits_per_weight", tensor.bits_per_weight},
                 {"errors", tensor.errors ? json_of(*tensor.errors) : json(nullptr)}};
  if (!tensor.note.empty())
    result["note"] = tensor.note;
  return result;
}

json json_of(const lane_report& lane) {
  return {{"id", lane.id},
          {"shards", lane.shards},
          {"bytes", lane.bytes},
          {"restarts", lane.restarts},
          {"busy_seconds", lane.busy_seconds},
          {"p50_ms", lane.p50_ms},
          {"p99_ms", lane.p99_ms},
          {"p999_ms", lane.p999_ms},
          {"peak_rss_bytes", lane.peak_rss_bytes}};
}

json json_of(const method_report& method) {
  return {{"name", method.name},
          {"values", method.values},
          {"bytes", method.bytes},
          {"busy_seconds", method.busy_seconds},
          {"values_per_s", method.values_per_s}};
}

json totals_of(const job_report& report) {
  const auto source = static_cast<double>(report.source_bytes);
  return {{"tensors", report.tensors.size()},
          {"source_bytes", report.source_bytes},
          {"output_bytes", report.output_bytes},
          {"compression", report.output_bytes == 0
                              ? json(nullptr)
                              : json(source / static_cast<double>(report.output_bytes))},
          {"seconds", report.seconds},
          {"bytes_per_second", report.seconds > 0 ? json(source / report.seconds) : json(nullptr)},
          {"peak_rss_bytes", report.peak_rss_bytes},
          {"shards", report.shards},
          {"shards_resumed", report.shards_resumed},
          {"retries", report.retries},
          {"copies", report.copies},
          {"restarts", report.restarts}};
}

} // namespace

json json_report(const job_report& report, const verdict& said) {
  json result = {{"job", report.job},       {"method", said.method},
                 {"layout", report.layout}, {"output", report.output.string()},
                 {"dry_run", said.dry_run}, {"totals", totals_of(report)}};
  auto& tensors = result["tensors"] = json::array();
  for (const auto& tensor : report.tensors)
    tensors.push_back(json_of(tensor));
  auto& lanes = result["lanes"] = json::array();
  for (const auto& lane : report.meters.lanes)
    lanes.push_back(json_of(lane));
  auto& methods = result["methods"] = json::array();
  for (const auto& method : report.meters.methods)
    methods.push_back(json_of(method));
  result["lane_deaths"] = json(report.meters.deaths);
  json asked = json::array(), failed = json::array();
  for (const auto& gate : said.gates)
    asked.push_back(gate.text);
  for (const auto& each : said.failed)
    failed.push_back({{"gate", each.gate},
                      {"tensor", each.tensor},
                      {"value", each.why.empty() ? json(each.value) : json(nullptr)},
                      {"why", each.why.empty() ? json(nullptr) : json(each.why)}});
  result["gates"] = {{"asked", std::move(asked)}, {"failed", std::move(failed)}};
  return result;
}

expected<void> write_report(const std::filesystem::path& file, const job_report& report,
                            const verdict& said) {
  const auto text = file.extension() == ".md"
                        ? markdown_report(report, said)
                        : formats::text_of(json_report(report, said), 2) + "\n";
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out)
    return fail(errno == ENOSPC ? errc::disk_full : errc::cannot_write,
                fmt::format("{}: the report cannot be written ({}); the job itself is done",
                            formats::shown(file), std::strerror(errno)));
  return {};
}

} // namespace viva::cli
