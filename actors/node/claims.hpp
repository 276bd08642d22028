#pragma once

// Claims: which shards of a job are being fetched from some node, and which are here. A shard may
// have two runs on two nodes (job_policy.hpp, late shards); at any time one of them at most is
// written into OUT.partial, and none any more once the bytes of one were found right.
//
//   free ──take──► fetched by one ──keep──► here
//     ▲                  │
//     └──────let_go──────┘
//
// The second run was given out because the first is late. Where it is done while the first is still
// fetched, over a link that may be the reason, it is wanted: who fetches is called, may let go, and
// gets it back only if the one that wanted it does not take it.
//
// One for all links of a job. Its functions may be called from any thread.

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace viva::actors::node {

class claims {
public:
  using call = std::function<void()>;

  explicit claims(std::size_t shards);

  /// Those of them that are not here: the caller fetches them from now on. Nothing, and no claim,
  /// where somebody else fetches or wants one of them; then `again` is called once, when that may
  /// have changed, on whatever thread changed it. Who fetches is also called, once, where one of
  /// its shards becomes `wanted`. With `overtakes`, what others fetch is wanted, and what is wanted
  /// may be taken.
  std::optional<std::vector<std::uint32_t>> take(const std::vector<std::uint32_t>& shards,
                                                 call again, bool overtakes = false);
  /// One of them, which the caller fetches, is awaited by a run that overtakes.
  bool wanted(const std::vector<std::uint32_t>& shards) const;
  /// Whoever waited for these to overtake is gone.
  void want_no_more(const std::vector<std::uint32_t>& shards);
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
    bool wanted = false;
  };
  void call_all();

  mutable std::mutex x_guard;
  std::vector<entry> x_entries;            // by shard
  std::map<std::uint32_t, call> x_fetching; // by shard: who is called where it is wanted
  std::vector<call> x_waiting;
};

} // namespace viva::actors::node
