#include "actors/node/range_set.hpp"

#include <iterator>
#include <limits>

namespace viva::actors::node {

std::uint32_t range_set::depth_before(depths::const_iterator at) const {
  return at == x_depths.begin() ? 0 : std::prev(at)->second;
}

range_set::depths::iterator range_set::split(std::uint64_t at) {
  const auto found = x_depths.lower_bound(at);
  if (found != x_depths.end() && found->first == at)
    return found;
  return x_depths.emplace_hint(found, at, depth_before(found));
}

template <class Change>
void range_set::change(std::uint64_t offset, std::uint64_t bytes, Change how) {
  if (bytes == 0)
    return;
  auto at = split(offset);
  const auto end = split(offset + bytes);
  for (auto each = at; each != end; ++each)
    each->second = how(each->second);
  for (const auto behind = std::next(end); at != behind;)
    at = at->second == depth_before(at) ? x_depths.erase(at) : std::next(at);
}

void range_set::add(std::uint64_t offset, std::uint64_t bytes) {
  change(offset, bytes, [](std::uint32_t depth) { return depth + 1; });
}

void range_set::remove(std::uint64_t offset, std::uint64_t bytes) {
  change(offset, bytes, [](std::uint32_t depth) { return depth == 0 ? 0 : depth - 1; });
}

bool range_set::holds(std::uint64_t offset, std::uint64_t bytes) const {
  if (bytes > std::numeric_limits<std::uint64_t>::max() - offset) // a peer says any number
    return false;
  bool all = true;
  each_gap(offset, bytes, [&](std::uint64_t, std::uint64_t) { all = false; });
  return all;
}

} // namespace viva::actors::node
