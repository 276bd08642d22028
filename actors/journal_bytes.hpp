#pragma once

// Journal bytes: the written form of journal_file.hpp, for the two halves that write and read it.

#include "actors/journal_record.hpp"

#include <xxhash.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace viva::actors::journal_bytes {

inline constexpr std::string_view magic = "VIVAJRN4";
inline constexpr std::string_view magic_of_any = "VIVAJRN";
inline constexpr std::string_view frame_magic = "FRAM";
inline constexpr std::size_t check_at = 4 + 4 + 8 + 4;
inline constexpr std::size_t head_bytes = check_at + 8;

enum kind : std::uint8_t {
  opening = 1, done = 2, strike = 3, quarantine = 4, pardon = 5, naming = 6, closing = 7
};

template <class T>
void put(std::string& out, T v) {
  for (std::size_t i = 0; i < sizeof(T); ++i)
    out.push_back(static_cast<char>(v >> (8 * i) & 255));
}

inline void put(std::string& out, const std::string& text) {
  put(out, static_cast<std::uint32_t>(text.size()));
  out += text;
}

/// Of a frame's bytes, seq and life, and of its payload.
inline std::uint64_t check_of(std::string_view head, std::string_view payload) {
  const std::uint64_t both[2] = {XXH3_64bits(head.data(), head.size()),
                                 XXH3_64bits(payload.data(), payload.size())};
  return XXH3_64bits(both, sizeof both);
}

} // namespace viva::actors::journal_bytes
