#include "actors/shard_deaths.hpp"

#include "formats/shown.hpp"

#include <algorithm>

namespace viva::actors {
namespace {

constexpr std::uint32_t problems_listed_max = 8; // of quarantined shards, in one line
constexpr std::size_t reasons_told_max = 4;      // of one of them; the last

} // namespace

std::string place_of(const plan& work, std::uint32_t s) {
  const auto& shard = work.shards[s];
  return formats::shown(work.tensors[shard.tensor].name)
         + (shard.what == task::copy ? ": bytes " : ": rows ") + std::to_string(shard.first)
         + " to " + std::to_string(shard.first + shard.count);
}

shard_deaths::shard_deaths(const plan& work, const earlier_run& earlier) : x_work(&work) {
  for (const auto& record : earlier.strikes)
    x_reasons[record.shard].push_back(record.reason);
  for (const auto& record : earlier.quarantined)
    if (!record.reasons.empty())
      x_reasons.try_emplace(record.shard, record.reasons);
}

strike_record shard_deaths::note(ticket run, const std::string& reason, bool of_device) {
  auto& reasons = x_reasons[run.shard];
  reasons.push_back(cut_words(reason));
  x_of_devices[run.shard] += of_device ? 1 : 0;
  return {run.shard, reasons.back(), run.run};
}

std::uint32_t shard_deaths::of_devices(std::uint32_t shard) const {
  const auto found = x_of_devices.find(shard);
  return found == x_of_devices.end() ? 0 : found->second;
}

quarantine_record shard_deaths::evidence(std::uint32_t shard) const {
  const auto& all = x_reasons.at(shard);
  const auto told = std::min(all.size(), reasons_told_max);
  return {shard, place_of(*x_work, shard), {all.end() - std::ptrdiff_t(told), all.end()}};
}

error shard_deaths::problem(const ledger& book) const {
  const auto all = book.quarantined();
  if (all.empty())
    return {errc::job_failed, "shards wait for what never comes: a defect of ours"};
  std::string text = std::to_string(all.size()) + " of " + std::to_string(x_work->shards.size())
                     + " shards are in quarantine: ";
  for (std::size_t i = 0; i < all.size() && i < problems_listed_max; ++i) {
    const auto reason = x_reasons.find(all[i]);
    text += (i == 0 ? "" : "; ") + place_of(*x_work, all[i]) + ": "
            + std::to_string(book.strikes(all[i])) + " lanes died on them, the last of "
            + (reason == x_reasons.end() ? "a reason unknown" : reason->second.back());
  }
  if (all.size() > problems_listed_max)
    text += "; and " + std::to_string(all.size() - problems_listed_max) + " more";
  return {errc::job_failed, text + ". What is done is kept; the same command with "
                                   "--retry-quarantined runs them again"};
}

} // namespace viva::actors
