#pragma once

// The survey of methods that need the largest magnitude of the whole tensor.

#include "kernels/registry.hpp"

namespace viva::kernels {

survey_fn survey_magnitude; ///< survey::max; the rest of the survey is left alone.

} // namespace viva::kernels
