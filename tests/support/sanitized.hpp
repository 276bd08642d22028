#pragma once

// Whether this build watches itself. Kernels are then compiled without optimization and run about a
// hundred times slower, so what is computed for its size alone is asked for in smaller sizes.

#include <cstddef>

namespace viva::tests {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

inline constexpr std::size_t sized(std::size_t whole, std::size_t watched) {
  return sanitized ? watched : whole;
}

/// All of a list, or where builds watch themselves every fourth: body(element).
template <class List, class Body>
void each_or_every_fourth(const List& all, const Body& body) {
  for (std::size_t i = 0; i < all.size(); i += sized(1, 4))
    body(all[i]);
}

} // namespace viva::tests
