#pragma once

// When an output is stored past the cache: a plain store would first read from memory what it
// overwrites, and push out what the next reader wants. A job's runs are far smaller and stay.

#include <cstddef>
#include <cstdint>

namespace viva::kernels {

inline constexpr std::size_t past_cache_bytes = std::size_t{8} << 20;

/// True for `bytes` bytes at `to`, from which on every whole vector is aligned.
inline bool stores_past_cache(const void* to, std::size_t bytes) noexcept {
  return bytes >= past_cache_bytes && reinterpret_cast<std::uintptr_t>(to) % 64 == 0;
}

} // namespace viva::kernels
