#pragma once

// What the machine's memory gives one thread: the limits that encoders and decoders are held to.
// Compiled for every instruction set, like kernels/; follows `kernels::use_simd_target`.

#include <cstddef>
#include <cstdint>

namespace viva::bench {

/// Adds up all 64-bit words of `bytes` bytes, a multiple of 1024, so that none can be left unread.
std::uint64_t read_words(const std::byte* from, std::size_t bytes);

/// Fills `bytes` bytes, a multiple of 1024 at an address of 64; `past_cache` without reading them
/// into the cache first.
void write_words(std::byte* to, std::size_t bytes, bool past_cache);

} // namespace viva::bench
