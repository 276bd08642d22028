#pragma once

// What a coordinator gives a node: a job, and batches of it.

#include "actors/assignment.hpp"
#include "actors/lane_frames.hpp"
#include "actors/messages.hpp"
#include "actors/node/letters.hpp"
#include "formats/checkpoint.hpp"
#include "tests/actors/node_processes.hpp"

namespace viva::tests {

namespace node = actors::node;

/// A job, whose source of 1 MiB is made in that folder where it is not there.
inline actors::site_ptr site_of(const temporary_folder& folder, const std::string& method = "nf4",
                                const std::filesystem::path& stats = {}) {
  quantize_spec spec;
  spec.source = folder / "source";
  spec.output = folder / "out";
  spec.method = method;
  spec.stats = stats;
  if (!exists(spec.source))
    REQUIRE(viva::tests::viva({"synth", spec.source.string(), "--size", "1MiB"}).code == 0);
  auto from = formats::open_checkpoint(spec.source);
  REQUIRE(from);
  auto work = actors::plan_quantize(*from, spec, {});
  REQUIRE(work);
  REQUIRE(actors::fit_memory(*work, spec.limits, 2));
  auto place = actors::workplace::open(*work, spec.output, nullptr);
  REQUIRE(place);
  auto site = std::make_shared<actors::job_site>(std::move(*work), std::move(*place), fault_plan{},
                                                 false);
  site->assignment = encode(actors::assignment{spec, {}, 2}, site->work,
                            site->place.partial_identity());
  return site;
}

/// One batch for a lane, of these shards.
inline std::string work_for(const node::lane_news& lane, const std::vector<std::uint32_t>& shards,
                            actors::lane_fault fault = actors::lane_fault::none) {
  actors::work_order order{1, {}};
  for (const auto s : shards)
    order.tasks.push_back({{{s, 1}, {}, {}}, fault});
  return encode(node::parcel{lane.lane, lane.life, encode(order)});
}

} // namespace viva::tests
