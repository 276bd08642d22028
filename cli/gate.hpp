#pragma once

// Gates: conditions under which a report counts as a failure, as --fail-if takes them.
// "sqnr_db<20" reads: fail if any tensor's sqnr_db is below 20.

#include "actors/job.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace viva::cli {

enum class relation : std::uint8_t { below, at_most, above, at_least };

struct gate {
  std::string metric;
  relation how = relation::below;
  double bound = 0;
  std::string text; ///< As it was asked.
};

struct gate_failure {
  std::string gate, tensor;
  double value = 0;
  std::string why; ///< Where there is no value: the tensor could not be compared.
};

/// "METRIC OP NUMBER", OP one of < <= > >=. `bad_option` names what is wrong and what would be
/// right.
expected<gate> parse_gate(std::string_view text);

/// True where only a job that measures knows the metric, unlike bits per weight.
bool needs_errors(const gate&);

/// Every tensor on which a gate holds, in the report's order. Copies are passed over; a metric that
/// is NaN fails every gate on it, and so does a tensor that has no counterpart to be compared with.
std::vector<gate_failure> failures(std::span<const gate> gates, const job_report& report);

/// Names of the metrics, for --help.
std::string metric_names();

} // namespace viva::cli
