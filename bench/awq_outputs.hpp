#pragma once

// AWQ judged on what it is for: the outputs of a layer, not its weights.

#include "kernels/error.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace viva::bench {

/// Weights 512 x 512 of N(0, 0.05); inputs that do not correlate, of deviations exp(N(0, 0.1)) and
/// 20 in five columns.
struct awq_layer {
  static constexpr std::size_t size = 512;
  std::vector<float> weight;                ///< Row-major.
  std::vector<float> mean_abs, mean_square; ///< Of the input of each column.
};

awq_layer make_awq_layer(std::uint32_t seed);

/// Root of the mean square error of the layer's outputs, in percent of the outputs' own, where
/// `decoded` stands in for weights whose columns were scaled.
double output_error(const awq_layer&, std::span<const float> decoded,
                    std::span<const float> scales);

/// Each an output_error.
struct awq_output_errors {
  double rounded = 0;  ///< awq:rtn, no scales.
  double half = 0;     ///< Scales by E|x|^0.5, as the report had them.
  double searched = 0; ///< The best of all candidates.
  double clipped = 0;  ///< The same, and clips searched.
  double believed = 0; ///< What the search takes `searched` to be, from its own sums.
};

/// In groups of 128.
expected<awq_output_errors> measure_awq_outputs(const awq_layer&);

} // namespace viva::bench
