#pragma once

// Ledger: which shards wait, are out, are done. Pure; the promise "each shard counts once" lives
// here.
//
//   held ──release──► waiting ──take──► out ──commit──► done
//                        ▲               │
//                        └──give_back────┘   until attempts_max runs died on it
//
// A run that was lost while its lane worked on another shard costs no attempt.

#include <cstdint>
#include <optional>
#include <set>
#include <vector>

namespace viva::actors {

/// One run of one shard.
struct ticket {
  std::uint32_t shard = 0;
  std::uint32_t run = 0; ///< 1 for the first.
  friend bool operator==(const ticket&, const ticket&) = default;
};

class ledger {
public:
  ledger(std::uint32_t shards, std::uint32_t attempts_max)
    : x_entries(shards), x_attempts_max(attempts_max) {
    for (std::uint32_t i = 0; i < shards; ++i)
      x_waiting.insert(x_waiting.end(), i);
  }

  /// Keeps a waiting shard from being taken until `release`.
  void hold(std::uint32_t shard) {
    x_waiting.erase(shard);
  }
  void release(std::uint32_t shard) {
    if (!x_entries[shard].done && !x_entries[shard].out)
      x_waiting.insert(shard);
  }

  /// The lowest shard that waits; low numbers first keeps writes and errors in order.
  std::optional<ticket> take() {
    if (x_waiting.empty())
      return std::nullopt;
    const auto shard = *x_waiting.begin();
    x_waiting.erase(x_waiting.begin());
    auto& entry = x_entries[shard];
    entry.out = true;
    return ticket{shard, ++entry.runs};
  }

  /// The shard that `take` gives next, where one waits.
  std::optional<std::uint32_t> next() const {
    return x_waiting.empty() ? std::nullopt : std::optional(*x_waiting.begin());
  }
  /// True where a run of this shard was lost before.
  bool lost_before(std::uint32_t shard) const {
    return x_entries[shard].runs > 0;
  }

  /// True for the first run home of a shard; every later one is stale and is to be dropped.
  bool commit(std::uint32_t shard) {
    auto& entry = x_entries[shard];
    if (entry.done)
      return false;
    entry.done = true;
    entry.out = false;
    x_waiting.erase(shard);
    ++x_done;
    return true;
  }

  enum class verdict : std::uint8_t { again, spent, stale };

  /// A run was lost with its lane, which died on this very shard or on another.
  verdict give_back(ticket t, bool died_on_it) {
    auto& entry = x_entries[t.shard];
    if (entry.done || !entry.out || entry.runs != t.run)
      return verdict::stale;
    entry.out = false;
    entry.deaths += died_on_it ? 1 : 0;
    if (entry.deaths >= x_attempts_max)
      return verdict::spent;
    x_waiting.insert(t.shard);
    return verdict::again;
  }

  bool done(std::uint32_t shard) const {
    return x_entries[shard].done;
  }
  bool complete() const noexcept {
    return x_done == x_entries.size();
  }
  std::uint32_t done_count() const noexcept {
    return x_done;
  }

private:
  struct state_of_one {
    std::uint32_t runs = 0, deaths = 0;
    bool out = false, done = false;
  };
  std::vector<state_of_one> x_entries;
  std::set<std::uint32_t> x_waiting;
  std::uint32_t x_attempts_max;
  std::uint32_t x_done = 0;
};

} // namespace viva::actors
