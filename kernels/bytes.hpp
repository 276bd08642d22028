#pragma once

// Bytes of records: little-endian integers, LEB128 varints and FNV-1a.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace viva::kernels {

/// FNV-1a 64 (Fowler, Noll, Vo) with the standard offset basis.
constexpr std::uint64_t fnv1a(std::string_view bytes,
                              std::uint64_t basis = 14695981039346656037u) noexcept {
  for (const char c : bytes)
    basis = (basis ^ static_cast<std::uint8_t>(c)) * 1099511628211u;
  return basis;
}

inline void put_u64(std::string& out, std::uint64_t value) {
  for (int i = 0; i < 8; ++i)
    out.push_back(static_cast<char>(value >> (8 * i) & 0xFF));
}

/// Seven bits per byte, low first; the top bit says that more follow.
inline void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7)
    out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

/// Takes one varint off the front of `in`. False where it is cut off or longer than 64 bits.
inline bool take_varint(std::string_view& in, std::uint64_t& value) noexcept {
  value = 0;
  for (std::size_t i = 0; i < in.size() && i < 10; ++i) {
    const auto byte = static_cast<std::uint8_t>(in[i]);
    value |= static_cast<std::uint64_t>(byte & 0x7F) << (7 * i);
    if (byte < 0x80) {
      in.remove_prefix(i + 1);
      return true;
    }
  }
  return false;
}

} // namespace viva::kernels
