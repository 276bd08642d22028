#pragma once

// Byte range: bytes of one of several numbered files.

#include <algorithm>
#include <compare>
#include <cstdint>
#include <vector>

namespace viva::actors {

struct byte_range {
  std::uint32_t file = 0;
  std::uint64_t offset = 0, bytes = 0;
  friend auto operator<=>(const byte_range&, const byte_range&) = default;
};

/// Sorted, with what touches or overlaps in one piece and empty ones left out.
inline std::vector<byte_range> merged(std::vector<byte_range> all) {
  std::ranges::sort(all);
  std::vector<byte_range> result;
  for (const auto& each : all) {
    if (each.bytes == 0)
      continue;
    if (!result.empty() && result.back().file == each.file
        && each.offset <= result.back().offset + result.back().bytes) {
      auto& last = result.back();
      last.bytes = std::max(last.bytes, each.offset - last.offset + each.bytes);
    } else {
      result.push_back(each);
    }
  }
  return result;
}

} // namespace viva::actors
