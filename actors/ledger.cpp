#include "actors/ledger.hpp"

#include <algorithm>

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
  x_out -= entry.is_out() ? 1 : 0;
  x_quarantined -= entry.quarantined ? 1 : 0;
  entry.done = true;
  entry.out = {};
  entry.quarantined = false;
  x_waiting.erase(shard);
  x_suspects.erase(shard);
  ++x_done;
  return true;
}

ledger::verdict ledger::give_back(ticket t, bool died_on_it) {
  auto& entry = x_entries[t.shard];
  const auto run = std::ranges::find(entry.out, t.run);
  if (entry.done || t.run == 0 || run == entry.out.end())
    return verdict::stale;
  *run = 0;
  entry.strikes += died_on_it ? 1 : 0;
  if (entry.is_out())
    return verdict::elsewhere;
  --x_out;
  if (died_on_it && entry.alone) {
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
  if (entry.done || entry.is_out() || entry.quarantined)
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
  entry.alone = &pool == &x_suspects;
  ++x_out;
  entry.out = {++entry.runs, 0};
  return ticket{shard, entry.runs};
}

std::optional<ticket> ledger::take_copy(std::uint32_t shard) {
  auto& entry = x_entries[shard];
  if (entry.out[0] != 1 || entry.runs != 1 || entry.strikes != 0
      || x_strikes_max < 2) // lanes may die of both, and no more than so many in company
    return std::nullopt;
  entry.out[1] = ++entry.runs;
  return ticket{shard, entry.runs};
}

void ledger::put_back(std::uint32_t shard) {
  const auto& entry = x_entries[shard];
  if (entry.done || entry.is_out() || entry.held || entry.quarantined)
    return;
  (entry.strikes >= x_strikes_max ? x_suspects : x_waiting).insert(shard);
}

} // namespace viva::actors
