// What attention takes of a pipeline's budget: its result, the parts of several ranges of keys
// once, and copies for lanes that have no memory of this process. A few bytes less are too few.

#include "actors/pipeline/attention_parts.hpp"
#include "tests/actors/tensors.hpp"
#include "tests/kernels/attention_problem.hpp"
#include "tests/support/sanitized.hpp"

using namespace viva;
using kernels::attention::shape;
using kernels::testing::problem;

namespace {

constexpr std::uint64_t slack = 64; ///< Log-sum-exps begin at whole lines.

/// The result, and what ranges give: f32 rows and log-sum-exps of each; of one range it is the
/// result itself, which processes write elsewhere first.
std::uint64_t result_bytes(const shape& of, kernels::dtype type, std::uint64_t ranges,
                           isolation kind) {
  const std::uint64_t rows = of.batch * of.heads * of.queries;
  const auto result = rows * (of.head_size * kernels::bytes_of(type) + sizeof(float));
  const auto parts = ranges * rows * (of.head_size + 1) * sizeof(float);
  return result + (ranges > 1 ? parts : kind == isolation::process ? result : 0);
}

std::uint64_t side_bytes(const shape& of, kernels::dtype type, std::size_t heads,
                         std::size_t rows) {
  return of.batch * heads * rows * of.head_size * kernels::bytes_of(type);
}

pipeline_options with_budget(isolation kind, std::uint64_t bytes) {
  auto options = testing::lanes_of(1, kind);
  options.budget_bytes = bytes;
  return options;
}

} // namespace

TEST_CASE("attention budget: parts of ranges are counted once, by threads and by processes") {
  const auto kind = GENERATE(isolation::thread, isolation::process);
  const auto type = GENERATE(kernels::dtype::f32, kernels::dtype::bf16);
  for (const std::size_t keys : {3000, 9000, 20000}) {
    const shape of{.heads = 8, .kv_heads = 1, .queries = tests::sized(64, 16), .keys = keys,
                   .head_size = 64};
    const std::uint64_t ranges = (keys + 4095) / 4096;
    const problem made(of, type, false, 3);
    auto need = result_bytes(of, type, ranges, kind);
    if (kind == isolation::process)
      need += side_bytes(of, type, of.heads, of.queries) + 2 * side_bytes(of, type, 1, keys);
    INFO(keys << " keys need " << need << " bytes");
    pipeline little{with_budget(kind, need - 1)};
    const auto refused = little.attention({made.of, made.in()}).get();
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().code == errc::over_budget);
    pipeline enough{with_budget(kind, need + slack)};
    const auto got = enough.attention({made.of, made.in()}).get();
    REQUIRE(got.has_value());
    CHECK(got->key_ranges == ranges);
  }
}

TEST_CASE("attention budget: parts of resident keys are counted once") {
  const auto kind = GENERATE(isolation::thread, isolation::process);
  const auto type = kernels::dtype::f32;
  const shape of{.heads = 4, .kv_heads = 2, .queries = 40, .keys = 17000, .head_size = 64};
  const problem made(of, type, false, 4);
  const auto view = [&](const std::vector<std::byte>& side) {
    return tensor_view{side.data() + 1, of.keys, of.kv_heads * of.head_size, 0, type};
  };
  auto need = result_bytes(of, type, 5, kind); // five shards of keys
  if (kind == isolation::process)
    need += side_bytes(of, type, of.heads, of.queries);
  const auto held = 2 * side_bytes(of, type, of.kv_heads, of.keys);
  for (const auto& [budget, fits] : {std::pair{held + need - 1, false},
                                     std::pair{held + need + slack, true}}) {
    pipeline pipe{with_budget(kind, budget)};
    const auto k = pipe.put("k", view(made.k)).get(), v = pipe.put("v", view(made.v)).get();
    REQUIRE((k && v));
    REQUIRE(pipe.metrics().queue->budget_bytes == held);
    submit_options refuse;
    refuse.when_full = on_full::refuse;
    const auto in = made.in();
    const auto got = pipe.attention(resident_attention{of, in.q, *k, *v, {}}, refuse).get();
    CHECK(got.has_value() == fits);
    CHECK((got || got.error().code == errc::over_budget));
  }
}

TEST_CASE("attention budget: the region of processes is as large as was counted") {
  const shape of{.heads = 3, .kv_heads = 1, .queries = 7, .keys = 9000, .head_size = 40};
  actors::shared_table shares([] {}, false);
  for (const auto type : {kernels::dtype::f32, kernels::dtype::f16})
    for (const std::uint32_t ranges : {1u, 2u, 5u}) {
      actors::attention_parts parts(of, type, ranges);
      REQUIRE(parts.allocate(&shares).has_value());
      const auto result = of.heads * of.queries
                          * (of.head_size * kernels::bytes_of(type) + sizeof(float));
      CHECK(parts.bytes(true) == result + parts.region()->size());
      CHECK(parts.bytes(true) <= result_bytes(of, type, ranges, isolation::process) + slack);
    }
}
