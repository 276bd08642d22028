#include "actors/lane_answers.hpp"

#include "actors/findings.hpp"
#include "actors/lane.hpp"

#include <utility>

namespace viva::actors {

lane_fault fault_of(const job_site& site, const shard_task& task) {
  const auto& faults = site.faults;
  const auto id = task.id;
  if (faults.throw_every != 0 && (site.tickets_started.fetch_add(1) + 1) % faults.throw_every == 0)
    return lane_fault::raise;
  if (faults.poison == id.shard + 1)
    return lane_fault::raise;
  if (faults.sticky_at == id.shard + 1 && task.device)
    return lane_fault::sticky;
  if (id.run != 1)
    return lane_fault::none;
  const std::pair<std::uint32_t, lane_fault> rows[] = {
    {faults.crash_at, lane_fault::crash}, {faults.abort_at, lane_fault::abort},
    {faults.hang_at, lane_fault::hang},   {faults.oom_at, lane_fault::oom},
    {faults.exit_at, lane_fault::exit},   {faults.garbage_at, lane_fault::garbage},
    {faults.no_memory_at, lane_fault::no_memory}};
  for (const auto& [at, what] : rows)
    if (at == id.shard + 1)
      return what;
  return lane_fault::none;
}

const char* refuse(const batch& work, const work_receipts& all) {
  if (all.number != work.number)
    return "receipts of another batch";
  if (all.shards.empty() || all.shards.size() > work.tasks.size())
    return "more or fewer receipts than tasks";
  for (std::size_t i = 0; i < all.shards.size(); ++i)
    if (all.shards[i].receipt.id != work.tasks[i].id)
      return "a receipt of another task";
  for (const auto& [receipt, took] : all.shards)
    if (receipt.problem.code == errc::ok
        && !findings_make_sense(work.site->work, receipt.id.shard, receipt.findings))
      return "findings that make no sense";
  const bool refused = all.shards.back().receipt.problem.code != errc::ok;
  return refused || all.shards.size() == work.tasks.size() ? nullptr : "fewer receipts than tasks";
}

batch_receipt believed(const std::string& lane, const batch& work, const work_receipts& all,
                       lane_meter& meter) {
  batch_receipt receipt{lane, work.number, {}};
  for (const auto& [shard, took] : all.shards) {
    meter.add(note_of(work.site->work, work.site->work.shards[shard.id.shard], took));
    receipt.shards.push_back(shard);
    receipt.shards.back().took = took;
  }
  meter.tell(); // before anybody can ask what the batch came to
  return receipt;
}

} // namespace viva::actors
