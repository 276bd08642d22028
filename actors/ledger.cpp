#include "actors/ledger.hpp"

namespace viva::actors {

ledger::ledger(std::uint32_t shards, std::uint32_t strikes_max)
    : x_entries(shards), x_strikes_max(strikes_max) {
  for (std::uint32_t i = 0; i < shards; ++i)
    x_waiting.insert(x_waiting.end(), i);
}

void ledger::hold(std::uint32_t shard) {
  x_entries[shard].held = true;
  x_waiting.erase(shard);
  x_suspects.erase(shard);
}

void ledger::release(std::uint32_t shard) {
  x_entries[shard].held = false;
  put_back(shard);
}

bool ledger::commit(std::uint32_t shard) {
  auto& entry = x_entries[shard];
  if (entry.done)
    return false;
  x_out -= entry.out ? 1 : 0;
  x_quarantined -= entry.quarantined ? 1 : 0;
  entry.done = true;
  entry.out = entry.quarantined = false;
  x_waiting.erase(shard);
  x_suspects.erase(shard);
  ++x_done;
  return true;
}

ledger::verdict ledger::give_back(ticket t, bool died_on_it) {
  auto& entry = x_entries[t.shard];
  if (entry.done || !entry.out || entry.runs != t.run)
    return verdict::stale;
  entry.out = false;
  --x_out;
  const bool was_suspect = entry.strikes >= x_strikes_max;
  entry.strikes += died_on_it ? 1 : 0;
  if (died_on_it && was_suspect) {
    quarantine(t.shard);
    return verdict::quarantined;
  }
  put_back(t.shard);
  return entry.strikes >= x_strikes_max ? verdict::suspect : verdict::again;
}

void ledger::strike(std::uint32_t shard) {
  ++x_entries[shard].strikes;
  if (x_waiting.erase(shard) > 0)
    put_back(shard);
}

void ledger::quarantine(std::uint32_t shard) {
  auto& entry = x_entries[shard];
  if (entry.done || entry.out || entry.quarantined)
    return;
  entry.quarantined = true;
  ++x_quarantined;
  x_waiting.erase(shard);
  x_suspects.erase(shard);
}

std::vector<std::uint32_t> ledger::quarantined() const {
  std::vector<std::uint32_t> all;
  for (std::uint32_t s = 0; s < x_entries.size(); ++s)
    if (x_entries[s].quarantined)
      all.push_back(s);
  return all;
}

std::optional<ticket> ledger::take_from(std::set<std::uint32_t>& pool) {
  if (pool.empty())
    return std::nullopt;
  const auto shard = *pool.begin();
  pool.erase(pool.begin());
  auto& entry = x_entries[shard];
  entry.out = true;
  ++x_out;
  return ticket{shard, ++entry.runs};
}

void ledger::put_back(std::uint32_t shard) {
  const auto& entry = x_entries[shard];
  if (entry.done || entry.out || entry.held || entry.quarantined)
    return;
  (entry.strikes >= x_strikes_max ? x_suspects : x_waiting).insert(shard);
}

} // namespace viva::actors
