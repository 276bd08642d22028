// Attention of wide and grouped heads, and of rows that a bias hides: each type, on every target
// and by every unit, beside double.

#include "tests/kernels/attention_problem.hpp"
#include "tests/kernels/attention_products.hpp"
#include "tests/support/sanitized.hpp"

#include <limits>

namespace viva::kernels::testing {

using attention::shape;

namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

/// Every type on every target, and bf16 by every unit.
void require_bound(const problem& made) {
  const auto truth = made.truth();
  const auto check = [&] {
    INFO(describe(made.of) << " " << name_of(made.type) << (made.bias.empty() ? "" : " biased"));
    require_promise(made.of, made.attend(), truth, made.type);
  };
  for_each_target(check);
  if (made.type == dtype::bf16)
    for_each_bf16_unit(check);
}

constexpr dtype types[] = {dtype::f32, dtype::bf16, dtype::f16};

} // namespace

TEST_CASE("attention: heads of 136 to 256 that share k and v are within the bound, by few queries "
          "and by many",
          "[attention]") {
  std::vector<std::size_t> sizes;
  for (std::size_t size = 136; size <= 256; size += 8)
    sizes.push_back(size);
  tests::each_or_every_fourth(sizes, [&](std::size_t head_size) {
    const std::size_t odd = head_size / 8 % 2; // each mask meets half of the sizes
    for (const auto type : types)
      for (const auto& of :
           {shape{.heads = 6,
                  .kv_heads = 2,
                  .queries = 13,
                  .keys = 71,
                  .head_size = head_size,
                  .causal = odd == 0,
                  .window = odd * 29},
            shape{.heads = 3, .kv_heads = 1, .queries = 1, .keys = 131, .head_size = head_size}})
        require_bound({of, type, odd == 0, static_cast<std::uint32_t>(head_size)});
  });
}

TEST_CASE("attention: keys that a bias of -inf hides weigh nothing, and rows without any are 0",
          "[attention]") {
  for (const auto& of : {shape{.heads = 4, .kv_heads = 2, .queries = 5, .keys = 70,
                               .head_size = 40},
                         shape{.heads = 2, .kv_heads = 1, .queries = 45, .keys = 301,
                               .head_size = 64, .causal = true},
                         shape{.batch = 2, .heads = 2, .kv_heads = 2, .queries = 33, .keys = 97,
                               .head_size = 96, .window = 31}})
    for (const auto type : types) {
      problem made(of, type, true, 13);
      const auto rows = made.bias.size() / of.keys;
      for (std::size_t row = 0; row < rows; ++row)
        for (std::size_t key = 0; key < of.keys; ++key)
          // Of four rows one sees nothing, one not the first keys, one not every third.
          if (row % 4 == 0 || (row % 4 == 1 && key < of.keys / 2)
              || (row % 4 == 2 && key % 3 == 0))
            made.bias[row * of.keys + key] = minus_infinity;
      const auto truth = made.truth();
      REQUIRE(truth.lse[0] == -std::numeric_limits<double>::infinity());
      require_bound(made); // of a row of zeros, exactly them
    }
}

TEST_CASE("attention: a bias whose strides are 0 is every row's", "[attention]") {
  for (const auto& of : {shape{.batch = 2, .heads = 4, .kv_heads = 2, .queries = 2, .keys = 83,
                               .head_size = 72},
                         shape{.heads = 2, .kv_heads = 1, .queries = 39, .keys = 140,
                               .head_size = 64}})
    for (const auto type : types) {
      problem made(of, type, true, 19);
      made.one_bias = true;
      require_bound(made);
    }
}

} // namespace viva::kernels::testing
