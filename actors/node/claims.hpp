#pragma once

// Claims: which shards of a job are being fetched from some node, and which are here. A shard may
// have two runs on two nodes (job_policy.hpp, late shards); at any time one of them at most is
// written into OUT.partial, and none any more once the bytes of one were found right.
//
//   free ──take──► fetched by one ──keep──► here
//     ▲                  │
//     └──────let_go──────┘
//
// One for all links of a job. Its functions may be called from any thread.

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace viva::actors::node {

class claims {
public:
  explicit claims(std::size_t shards);

  /// Those of them that are not here: the caller fetches them from now on. Nothing, and no claim,
  /// where somebody else fetches one of them; then `again` is called once, when that may have
  /// changed, on whatever thread changed it.
  std::optional<std::vector<std::uint32_t>> take(const std::vector<std::uint32_t>& shards,
                                                 std::function<void()> again);
  /// Fetched, and right: each with its checksum.
  void keep(const std::vector<std::pair<std::uint32_t, std::uint64_t>>& shards);
  /// Not fetched after all, or wrong: the next one may.
  void let_go(const std::vector<std::uint32_t>& shards);
  /// Of what is here. Nothing where it is not.
  std::optional<std::uint64_t> checksum(std::uint32_t shard) const;

private:
  enum class state : std::uint8_t { free, fetched, here };
  struct entry {
    std::uint64_t checksum = 0;
    state is = state::free;
  };
  void call_all();

  mutable std::mutex x_guard;
  std::vector<entry> x_entries; // by shard
  std::vector<std::function<void()>> x_waiting;
};

} // namespace viva::actors::node
