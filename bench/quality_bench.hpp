#pragma once

// What every method of the registry does to values: bits per weight and errors, on the data that
// the literature uses and on the two workloads of the report this project answers to.

#include "kernels/error.hpp"
#include "kernels/metrics.hpp"

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace viva::bench {

/// The two workloads of that report.
inline constexpr std::string_view uniform_workload = "U[0,1) 1024x512",
                                  narrow_workload = "N(0,0.3) 512x512";

struct quality_line {
  std::string workload; ///< "N(0,1) 1024x512", …
  std::string method;
  double bits = 0;                                     ///< Per weight, every plane counted.
  double rel_rms = 0, snr_db = 0, cosine = 0, mae = 0; ///< Means over the draws.
  std::optional<double> target_db; ///< What the registry, or for options this bench, states.
  std::optional<double> theory_db; ///< By integration (kernels/normal_theory.hpp).
  std::string_view claim;          ///< What the report printed; empty where it printed nothing.
};

/// Runs every method, or the one named, over every workload; three draws of N(0,1), one of others.
expected<void> run_quality_bench(const std::string& method,
                                 const std::function<void(const quality_line&)>& each);

} // namespace viva::bench
