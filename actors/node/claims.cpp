#include "actors/node/claims.hpp"

#include <algorithm>

namespace viva::actors::node {

claims::claims(std::size_t shards) : x_entries(shards) {
}

std::optional<std::vector<std::uint32_t>> claims::take(const std::vector<std::uint32_t>& shards,
                                                       call again, bool overtakes) {
  std::vector<std::uint32_t> taken;
  std::vector<call> asked;
  {
    const std::lock_guard hold(x_guard);
    const auto is_others = [&](std::uint32_t s) {
      const auto& each = x_entries[s];
      return each.is == state::fetched || (each.is == state::free && each.wanted && !overtakes);
    };
    // All or none: two that each waited for what the other has would wait for ever.
    if (std::ranges::none_of(shards, is_others)) {
      for (const auto s : shards)
        if (x_entries[s].is == state::free) {
          x_entries[s] = {0, state::fetched, false};
          x_fetching[s] = again;
          taken.push_back(s);
        }
      return taken;
    }
    for (const auto s : shards)
      if (overtakes && x_entries[s].is == state::fetched
          && !std::exchange(x_entries[s].wanted, true))
        asked.push_back(x_fetching[s]);
    x_waiting.push_back(std::move(again));
  }
  for (const auto& each : asked)
    each();
  return std::nullopt;
}

bool claims::wanted(const std::vector<std::uint32_t>& shards) const {
  const std::lock_guard hold(x_guard);
  return std::ranges::any_of(shards, [&](std::uint32_t s) { return x_entries[s].wanted; });
}

void claims::want_no_more(const std::vector<std::uint32_t>& shards) {
  {
    const std::lock_guard hold(x_guard);
    for (const auto s : shards)
      x_entries[s].wanted = false;
  }
  call_all();
}

void claims::keep(const std::vector<std::pair<std::uint32_t, std::uint64_t>>& shards) {
  {
    const std::lock_guard hold(x_guard);
    for (const auto& [shard, checksum] : shards) {
      x_entries[shard] = {checksum, state::here, false};
      x_fetching.erase(shard);
    }
  }
  call_all();
}

void claims::let_go(const std::vector<std::uint32_t>& shards) {
  {
    const std::lock_guard hold(x_guard);
    for (const auto s : shards) {
      x_entries[s].is = state::free;
      x_fetching.erase(s);
    }
  }
  call_all();
}

std::optional<std::uint64_t> claims::checksum(std::uint32_t shard) const {
  const std::lock_guard hold(x_guard);
  const auto& each = x_entries[shard];
  return each.is == state::here ? std::optional(each.checksum) : std::nullopt;
}

void claims::call_all() {
  std::vector<call> all;
  {
    const std::lock_guard hold(x_guard);
    all.swap(x_waiting);
  }
  for (const auto& each : all)
    each();
}

} // namespace viva::actors::node
