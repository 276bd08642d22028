#pragma once

// int4's search where columns matter differently (recipe::channels): the sums of int4.hpp are
// a = sum (w x) k and b = sum (w k) k, w the column's channel. All else is as there, and so are the
// vectors (int4-inl.hpp).
//
// Bound     int4.hpp's with channels.
// Exactness reference and SIMD agree bit for bit on every target.

#include "kernels/registry.hpp"

namespace viva::kernels::int4_weighed {

/// True for recipes of int4 that search and have channels.
bool takes(const recipe&) noexcept;
encode_fn encode_reference;

} // namespace viva::kernels::int4_weighed
