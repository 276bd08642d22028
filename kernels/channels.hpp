#pragma once

// Which methods look at recipe::channels, what goes into each column.

#include "kernels/registry.hpp"

namespace viva::kernels {

/// Whether encoding by the recipe may have other bytes with channels than without.
bool weighs_channels(const recipe&) noexcept;

} // namespace viva::kernels
