// A few thousand stories of a disturbed job (tests/faults/simulation.hpp); many more by
// ./bootstrap faults --seeds N.

#include "tests/actors/jobs.hpp"
#include "tests/faults/simulation.hpp"

using namespace viva;
using namespace viva::tests;

TEST_CASE("simulation: whatever dies, tears or rots, every story ends as the law says",
          "[simulation]") {
  faults::story all;
  for (const std::string method : {"int8", "nf4-dq"}) {
    const faults::ground ground(method);
    for (std::uint64_t seed = 1; seed <= 1500; ++seed) {
      const auto told = faults::simulate(ground, seed);
      all.kills += told.kills;
      all.power_cuts += told.power_cuts;
      all.lane_deaths += told.lane_deaths;
      all.quarantined += told.quarantined;
      all.rotten += told.rotten;
      all.copies += told.copies;
      all.named_only += told.named_only;
      all.left_out += told.left_out;
      all.folder_syncs_failed += told.folder_syncs_failed;
      if (!told.broken.empty())
        FAIL_CHECK(method << ", seed " << seed << ": " << told.broken);
    }
  }
  // Or the stories are too quiet to mean anything.
  CHECK(all.kills > 500);
  CHECK(all.power_cuts > 500);
  CHECK(all.lane_deaths > 5000);
  CHECK(all.quarantined > 200);
  CHECK(all.rotten > 500);
  CHECK(all.copies > 50);
  CHECK(all.named_only > 10);
  CHECK(all.left_out > 100);
  CHECK(all.folder_syncs_failed > 100);
}

TEST_CASE("simulation: its undisturbed run gives the bytes of a real one", "[simulation]") {
  for (const std::string method : {"int8", "nf4-dq"}) {
    const faults::ground ground(method);
    quantize_spec spec;
    spec.source = ground.folder / "tiny.safetensors";
    spec.output = ground.folder / "real.safetensors";
    spec.method = method;
    must(run_quantize(spec));
    CHECK(text_of(spec.output) == ground.truth);
  }
}

TEST_CASE("simulation: from a journal cut at any byte the job comes to the same output",
          "[simulation]") {
  std::uint64_t cuts = 0;
  const faults::ground ground("nf4-dq");
  CHECK(faults::resume_from_every_cut(ground, 4, cuts) == "");
  CHECK(cuts > 300);
}

TEST_CASE("simulation: the same seed tells the same story", "[simulation]") {
  const faults::ground ground("int8");
  const auto one = faults::simulate(ground, 11), other = faults::simulate(ground, 11);
  CHECK(one.events == other.events);
  CHECK(one.lane_deaths == other.lane_deaths);
  CHECK(one.shards_run == other.shards_run);
}
