#pragma once

// nvfp4-four-or-six where columns matter differently (recipe::channels): each squared error of a
// block's cost (nvfp4.hpp) is multiplied by its column's channel. All else is as there.
//
// Bound     nvfp4.hpp's, whatever the channels: it holds for either scale of a block. A block's
//           Σ channel (x - x')² is at most that of nvfp4-four-or-six without channels, but for
//           roundings: 2^-17 of it and 2^-26 Σ channel x².
// Exactness reference and SIMD agree bit for bit on every target.

#include "kernels/registry.hpp"

namespace viva::kernels::nvfp4_weighed {

encode_fn encode_reference, encode_simd;

} // namespace viva::kernels::nvfp4_weighed
