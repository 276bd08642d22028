#include "actors/lane.hpp"

#include "actors/shard_work.hpp"
#include "actors/site_gone.hpp"
#include "supervision/reason.hpp"

#include <caf/all.hpp>

#include <ctime>
#include <stdexcept>

namespace viva::actors {
namespace {

void fault_hook(const job_site& site, std::uint32_t shard) {
  if (site.faults.poison == shard + 1)
    throw std::runtime_error(fault_put_in() + ": poison=" + std::to_string(shard + 1));
  const auto every = site.faults.throw_every;
  if (every != 0 && (site.tickets_started.fetch_add(1) + 1) % every == 0)
    throw std::runtime_error(fault_put_in() + ": throw-every=" + std::to_string(every));
}

shard_receipt work_on(const job_site& site, const shard_task& task, lane_meter& meter) {
  const auto began = std::chrono::steady_clock::now();
  const auto& shard = site.work.shards[task.id.shard];
  fault_hook(site, task.id.shard);
  auto result = run_shard(site.work, site.place, shard, task.numbers, task.by);
  const auto took = std::chrono::steady_clock::now() - began;
  meter.add(note_of(site.work, shard, took));
  shard_receipt receipt{task.id, 0, {}, {}, took};
  if (result) {
    receipt.checksum = result->checksum;
    receipt.findings = std::move(result->findings);
  } else {
    receipt.problem = std::move(result.error());
  }
  return receipt;
}

} // namespace

std::string fault_put_in() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const auto nanoseconds = std::to_string(now.tv_nsec);
  return "fault put in on purpose at " + std::to_string(now.tv_sec) + '.'
         + std::string(9 - nanoseconds.size(), '0') + nanoseconds;
}

work_note note_of(const plan& work, const shard& what, std::chrono::nanoseconds took) {
  const auto& tensor = work.tensors[what.tensor];
  const auto values = what.count * tensor.cols;
  const auto note = [&](std::string_view name, std::uint64_t of_values) {
    return work_note{name, 1, of_values, what.source_bytes, took};
  };
  switch (what.what) {
    case task::encode:
      return note(tensor.target ? tensor.target->row->name : "encode", values);
    case task::decode:
      return note(tensor.source.recipe ? tensor.source.recipe->row->name : "convert", values);
    case task::copy:
      return note("copy", 0); // of bytes
    case task::measure:
      return note("compare", values);
    case task::fold:
      return note("fold", values);
    case task::scan:
      return note("scan", values);
    case task::survey:
      return note("survey", values);
    case task::shares:
    case task::losses:
      return note("search", values);
  }
  return {};
}

namespace {

batch_receipt work_off(const batch& work, const std::string& id, lane_meter& meter) {
  batch_receipt receipt{id, work.number, {}};
  for (const auto& task : work.tasks) {
    work.mark->store(task.id.shard); // stays where work_on throws
    receipt.shards.push_back(work_on(*work.site, task, meter));
    work.mark->store(no_shard);
    if (receipt.shards.back().problem.code != errc::ok)
      break;
  }
  return receipt;
}

} // namespace

caf::behavior lane(caf::event_based_actor* self, std::string id,
                   std::shared_ptr<lane_meter> meter) {
  return {
    [self, id = std::move(id), meter = std::move(meter)](const batch& work) {
      try {
        auto receipt = work_off(work, id, *meter);
        meter->tell(); // before anybody can ask what the batch came to
        self->send(work.conductor, std::move(receipt));
      } catch (const lease_over& why) {
        self->quit(supervision::make_error(supervision::fault::fenced, why.what()));
      }
    },
    [](const site_gone&) {},
  };
}

} // namespace viva::actors
