#include "cli/gate.hpp"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>

namespace viva::cli {

namespace {

struct metric_row {
  std::string_view name;
  double (*of)(const kernels::metrics&); ///< Null: a number of the tensor, not of its errors.
};

constexpr std::array<metric_row, 11> metric_rows = {{
    {"sqnr_db", [](const kernels::metrics& m) { return m.snr_db; }},
    {"mse", [](const kernels::metrics& m) { return m.mse; }},
    {"rmse", [](const kernels::metrics& m) { return m.rmse; }},
    {"mae", [](const kernels::metrics& m) { return m.mae; }},
    {"max_error", [](const kernels::metrics& m) { return m.max_error; }},
    {"p99", [](const kernels::metrics& m) { return m.p99; }},
    {"cosine", [](const kernels::metrics& m) { return m.cosine; }},
    {"rel_rms", [](const kernels::metrics& m) { return m.rel_rms; }},
    {"outliers", [](const kernels::metrics& m) { return static_cast<double>(m.outliers); }},
    {"not_finite", [](const kernels::metrics& m) { return static_cast<double>(m.not_finite); }},
    {"bits_per_weight", nullptr},
}};

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(' ');
  if (first == std::string_view::npos)
    return {};
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

std::optional<double> value_of(const metric_row& row, const tensor_report& tensor) {
  if (row.of == nullptr)
    return tensor.method.empty() || tensor.method == "copy" ? std::nullopt
                                                            : std::optional(tensor.bits_per_weight);
  return tensor.errors ? std::optional(row.of(*tensor.errors)) : std::nullopt;
}

bool holds(const gate& asked, double value) {
  if (std::isnan(value))
    return true;
  switch (asked.how) {
  case relation::below:
    return value < asked.bound;
  case relation::at_most:
    return value <= asked.bound;
  case relation::above:
    return value > asked.bound;
  case relation::at_least:
    return value >= asked.bound;
  }
  return true;
}

} // namespace

std::string metric_names() {
  std::string names;
  for (const auto& row : metric_rows)
    names += fmt::format("{}{}", names.empty() ? "" : ", ", row.name);
  return names;
}

expected<gate> parse_gate(std::string_view text) {
  const auto at = text.find_first_of("<>");
  if (at == std::string_view::npos)
    return fail(errc::bad_option,
                fmt::format("--fail-if '{}' has no operator; write for example sqnr_db<20", text));
  const bool or_equal = at + 1 < text.size() && text[at + 1] == '=';
  gate result;
  result.text = std::string(trimmed(text));
  result.metric = std::string(trimmed(text.substr(0, at)));
  result.how = text[at] == '<' ? (or_equal ? relation::at_most : relation::below)
                               : (or_equal ? relation::at_least : relation::above);
  if (std::ranges::find(metric_rows, result.metric, &metric_row::name) == metric_rows.end())
    return fail(errc::bad_option, fmt::format("--fail-if '{}': no metric '{}'; there are {}", text,
                                              result.metric, metric_names()));
  const auto number = trimmed(text.substr(at + (or_equal ? 2 : 1)));
  const auto* const end = number.data() + number.size();
  const auto [rest, problem] = std::from_chars(number.data(), end, result.bound);
  if (problem != std::errc{} || rest != end || !std::isfinite(result.bound))
    return fail(errc::bad_option, fmt::format("--fail-if '{}': '{}' is no number", text, number));
  return result;
}

bool needs_errors(const gate& asked) {
  return std::ranges::find(metric_rows, asked.metric, &metric_row::name)->of != nullptr;
}

std::vector<gate_failure> failures(std::span<const gate> gates, const job_report& report) {
  std::vector<gate_failure> found;
  for (const auto& asked : gates) {
    const auto* row = std::ranges::find(metric_rows, asked.metric, &metric_row::name);
    for (const auto& tensor : report.tensors)
      if (tensor.unmatched)
        found.push_back({asked.text, tensor.name, 0, tensor.note});
      else if (const auto value = value_of(*row, tensor); value && holds(asked, *value))
        found.push_back({asked.text, tensor.name, *value, {}});
  }
  return found;
}

} // namespace viva::cli
