#pragma once

// Whether this build watches itself, and its kernels, which are then compiled without optimization
// and run about a hundred times slower. So what is computed for its size alone is asked for in
// smaller sizes.

#include <cstddef>

namespace viva::tests {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

#ifdef VIVA_KERNELS_SANITIZED
inline constexpr bool kernels_sanitized = true;
#else
inline constexpr bool kernels_sanitized = false;
#endif

/// For what must keep kernels busy, not less.
inline constexpr std::size_t sized_for_kernels(std::size_t whole, std::size_t watched) {
  return kernels_sanitized ? watched : whole;
}
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
