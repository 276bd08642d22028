#include "actors/node/claims.hpp"

#include <algorithm>

namespace viva::actors::node {

claims::claims(std::size_t shards) : x_entries(shards) {
}

std::optional<std::vector<std::uint32_t>> claims::take(const std::vector<std::uint32_t>& shards,
                                                       std::function<void()> again) {
  const std::lock_guard hold(x_guard);
  // All or none: two that each waited for what the other has would wait for ever.
  if (std::ranges::any_of(shards, [&](auto s) { return x_entries[s].is == state::fetched; })) {
    x_waiting.push_back(std::move(again));
    return std::nullopt;
  }
  std::vector<std::uint32_t> taken;
  for (const auto s : shards)
    if (x_entries[s].is == state::free) {
      x_entries[s].is = state::fetched;
      taken.push_back(s);
    }
  return taken;
}

void claims::keep(const std::vector<std::pair<std::uint32_t, std::uint64_t>>& shards) {
  {
    const std::lock_guard hold(x_guard);
    for (const auto& [shard, checksum] : shards)
      x_entries[shard] = {checksum, state::here};
  }
  call_all();
}

void claims::let_go(const std::vector<std::uint32_t>& shards) {
  {
    const std::lock_guard hold(x_guard);
    for (const auto s : shards)
      x_entries[s].is = state::free;
  }
  call_all();
}

std::optional<std::uint64_t> claims::checksum(std::uint32_t shard) const {
  const std::lock_guard hold(x_guard);
  const auto& [sum, is] = x_entries[shard];
  return is == state::here ? std::optional(sum) : std::nullopt;
}

void claims::call_all() {
  std::vector<std::function<void()>> all;
  {
    const std::lock_guard hold(x_guard);
    all.swap(x_waiting);
  }
  for (const auto& each : all)
    each();
}

} // namespace viva::actors::node
