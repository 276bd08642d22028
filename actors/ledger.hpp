#pragma once

// Ledger: which shards wait, are out, are done. Pure; the promise "each shard counts once" lives
// here.
//
//   held ──release──► waiting ──take──► out ──commit──► done
//                        ▲               │
//                        ├──give_back────┤
//                     suspect ◄──────────┤   once strikes_max lanes died on it; taken alone,
//                                        ▼   by take_suspect
//                                   quarantined    the lane died on it that had nothing else
//
// A run that was lost while its lane worked on another shard costs no strike. One that is slow may
// have a copy beside it: whichever is home first counts, and while one is out the other is no loss.

#include <array>
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
  ledger(std::uint32_t shards, std::uint32_t strikes_max);

  /// Keeps a waiting shard from being taken until `release`.
  void hold(std::uint32_t shard);
  void release(std::uint32_t shard);

  /// The lowest shard that waits; low numbers first keeps writes and errors in order.
  std::optional<ticket> take() {
    return take_from(x_waiting);
  }
  /// The lowest shard that is to run where nothing else runs.
  std::optional<ticket> take_suspect() {
    return take_from(x_suspects);
  }

  /// A second run of one that is out for the first time and has cost no lane, unless the first lane
  /// that it costs makes a suspect of it; else nothing.
  std::optional<ticket> take_copy(std::uint32_t shard);

  /// The shard that `take` gives next, where one waits.
  std::optional<std::uint32_t> next() const {
    return x_waiting.empty() ? std::nullopt : std::optional(*x_waiting.begin());
  }
  /// True where a run of this shard was lost before, in this life of the job or an earlier one.
  bool lost_before(std::uint32_t shard) const {
    return x_entries[shard].runs > 0 || x_entries[shard].strikes > 0;
  }

  /// True for the first run home of a shard; every later one is stale and is to be dropped.
  bool commit(std::uint32_t shard);

  enum class verdict : std::uint8_t { again, suspect, quarantined, elsewhere, stale };

  /// A run was lost with its lane, which died on this very shard or on another.
  verdict give_back(ticket t, bool died_on_it);
  /// One lane more died on this shard, in an earlier life of the job.
  void strike(std::uint32_t shard);
  /// This shard is not run again. Not for one that is out.
  void quarantine(std::uint32_t shard);

  bool done(std::uint32_t shard) const {
    return x_entries[shard].done;
  }
  bool complete() const noexcept {
    return x_done == x_entries.size();
  }
  /// Nothing is out and nothing can be taken: what is not done is quarantined or held.
  bool idle() const noexcept {
    return x_out == 0 && x_waiting.empty() && x_suspects.empty();
  }
  bool has_suspects() const noexcept {
    return !x_suspects.empty();
  }
  std::uint32_t strikes(std::uint32_t shard) const {
    return x_entries[shard].strikes;
  }
  std::uint32_t done_count() const noexcept {
    return x_done;
  }
  std::uint32_t quarantined_count() const noexcept {
    return x_quarantined;
  }
  std::vector<std::uint32_t> quarantined() const;

private:
  std::optional<ticket> take_from(std::set<std::uint32_t>& pool);
  void put_back(std::uint32_t shard);

  struct state_of_one {
    std::uint32_t runs = 0, strikes = 0;
    std::array<std::uint32_t, 2> out{}; ///< Its runs that are out, by number; 0: none.
    bool alone = false;                 ///< The last run was taken as a suspect.
    bool held = false, done = false, quarantined = false;

    bool is_out() const noexcept {
      return out[0] != 0 || out[1] != 0;
    }
  };
  std::vector<state_of_one> x_entries;
  std::set<std::uint32_t> x_waiting, x_suspects;
  std::uint32_t x_strikes_max;
  std::uint32_t x_done = 0, x_out = 0, x_quarantined = 0;
};

} // namespace viva::actors
