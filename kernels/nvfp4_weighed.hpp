#pragma once

// nvfp4-four-or-six where columns matter differently (recipe::channels): each squared error of a
// block's cost (nvfp4.hpp) is multiplied by its column's channel. All else is as there.
//
// Exactness reference and SIMD agree bit for bit on every target.

#include "kernels/registry.hpp"

namespace viva::kernels::nvfp4_weighed {

encode_fn encode_reference, encode_simd;

} // namespace viva::kernels::nvfp4_weighed
