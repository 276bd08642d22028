#include "actors/node/range_set.hpp"

#include <algorithm>
#include <iterator>

namespace viva::actors::node {

void range_set::add(std::uint64_t offset, std::uint64_t bytes) {
  if (bytes == 0)
    return;
  auto begin = offset, end = offset + bytes;
  auto at = x_ends.upper_bound(begin);
  if (at != x_ends.begin() && std::prev(at)->second >= begin)
    --at;
  while (at != x_ends.end() && at->first <= end) { // all that it touches become part of it
    begin = std::min(begin, at->first);
    end = std::max(end, at->second);
    at = x_ends.erase(at);
  }
  x_ends.emplace(begin, end);
}

void range_set::remove(std::uint64_t offset, std::uint64_t bytes) {
  if (bytes == 0)
    return;
  const auto cut_end = offset + bytes;
  auto at = x_ends.upper_bound(offset);
  if (at != x_ends.begin())
    --at;
  while (at != x_ends.end() && at->first < cut_end) {
    const auto [begin, end] = *at;
    if (end <= offset) {
      ++at;
      continue;
    }
    at = x_ends.erase(at);
    if (begin < offset)
      x_ends.emplace(begin, offset);
    if (cut_end < end)
      x_ends.emplace(cut_end, end);
  }
}

bool range_set::holds(std::uint64_t offset, std::uint64_t bytes) const {
  if (bytes == 0)
    return true;
  const auto at = x_ends.upper_bound(offset);
  return at != x_ends.begin() && std::prev(at)->second >= offset
         && bytes <= std::prev(at)->second - offset;
}

} // namespace viva::actors::node
