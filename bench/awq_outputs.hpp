#pragma once

// AWQ judged on what it is for: the outputs of a layer, not its weights.

#include "kernels/error.hpp"

#include <cstdint>

namespace viva::bench {

/// Root of the mean square error of a layer's outputs, in percent of the outputs' own.
struct awq_output_errors {
  double rounded = 0;  ///< awq:rtn, no scales.
  double half = 0;     ///< Scales by E|x|^0.5, as the report had them.
  double searched = 0; ///< The best of all candidates.
  double clipped = 0;  ///< The same, and clips searched.
};

/// Weights 512 x 512 of N(0, 0.05), groups of 128; inputs that do not correlate, of deviations
/// exp(N(0, 0.1)) and 20 in five columns.
expected<awq_output_errors> measure_awq_outputs(std::uint32_t seed);

} // namespace viva::bench
