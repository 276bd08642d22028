#include "actors/lane.hpp"

#include "actors/shard_work.hpp"

#include <caf/all.hpp>

#include <stdexcept>

namespace viva::actors {
namespace {

void fault_hook(const job_site& site) {
  const auto every = site.faults.throw_every;
  if (every != 0 && (site.tickets_started.fetch_add(1) + 1) % every == 0)
    throw std::runtime_error("fault put in on purpose: throw-every=" + std::to_string(every));
}

} // namespace

caf::behavior lane(caf::event_based_actor* self, std::string id,
                   std::shared_ptr<lane_meter> meter) {
  return {
    [self, id = std::move(id), meter = std::move(meter)](const shard_task& task) {
      const auto began = std::chrono::steady_clock::now();
      const auto& work = task.site->work;
      const auto& shard = work.shards[task.id.shard];
      fault_hook(*task.site);
      auto result = run_shard(work, task.site->place, shard, task.numbers);
      const auto took = std::chrono::steady_clock::now() - began;
      meter->tickets.add(took);
      meter->shards.fetch_add(1, std::memory_order_relaxed);
      meter->bytes.fetch_add(shard.source_bytes, std::memory_order_relaxed);
      meter->busy_ns.fetch_add(static_cast<std::uint64_t>(took.count()),
                               std::memory_order_relaxed);
      shard_receipt receipt{task.id, id, 0, {}, {}};
      if (result) {
        receipt.checksum = result->checksum;
        receipt.findings = std::move(result->findings);
      } else {
        receipt.problem = std::move(result.error());
      }
      self->send(task.conductor, std::move(receipt));
    },
  };
}

} // namespace viva::actors
