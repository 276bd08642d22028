#include "actors/start_limit.hpp"

#include "tests/actors/jobs.hpp"

#include <chrono>

using namespace viva;
using namespace viva::tests;

TEST_CASE("quantize: lanes that die at once start over no faster than the limit of all starts") {
  const temporary_folder folder;
  auto spec = spec_for(synthesized(folder), folder / "out", "nf4");
  spec.limits.lanes = 16;
  spec.limits.shard_bytes_max = 8 << 10;
  spec.limits.attempts_max = 100;
  spec.faults.throw_every = 2;
  const auto begun = std::chrono::steady_clock::now();
  const auto restarts = must(run_quantize(spec)).restarts;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  CHECK(restarts > 2 * actors::starts_burst);
  CHECK(static_cast<double>(restarts)
        <= 1 + actors::starts_burst + took.count() * actors::starts_per_s);
}
