#pragma once

// Lane shelf: what a lane has in its keeping of resident tensors; gone with it.

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace viva::actors {

class lane_shelf {
public:
  using key = std::pair<std::uint64_t, std::size_t>; ///< Tensor and shard.
  const std::vector<std::byte>* find(key what) const {
    const auto at = x_shards.find(what);
    return at == x_shards.end() ? nullptr : &at->second;
  }
  const std::vector<std::byte>& put(key what, std::vector<std::byte> bytes) {
    return x_shards[what] = std::move(bytes);
  }
  void drop(key what) {
    x_shards.erase(what);
  }

private:
  std::map<key, std::vector<std::byte>> x_shards;
};

} // namespace viva::actors
