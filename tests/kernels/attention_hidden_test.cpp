// What is not finite where some rows see its key and others do not.

#include "tests/kernels/attention_problem.hpp"
#include "tests/kernels/attention_products.hpp"
#include "tests/support/sanitized.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace viva::kernels::testing {

using attention::shape;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

struct bad_value {
  std::size_t key, col;
  float is;
};

/// Whether row i of head h sees the key of kv head 0: by its place, and by a bias that hides none.
bool sees(const problem& made, std::size_t h, std::size_t i, std::size_t key) {
  const auto& of = made.of;
  const auto at =
      static_cast<std::ptrdiff_t>(i + of.keys) - static_cast<std::ptrdiff_t>(of.queries);
  const auto j = static_cast<std::ptrdiff_t>(key);
  const auto window = static_cast<std::ptrdiff_t>(of.window);
  const std::size_t row = made.one_bias ? 0 : h * of.queries + i;
  return h < of.heads / of.kv_heads && (!of.causal || j <= at)
         && (window == 0 || (at - j < window && j - at < window))
         && (made.bias.empty() || made.bias[row * of.keys + key] > -1e30f);
}

/// Columns where no bad value is seen: to the byte; by matrix tiles within bf16's rounding of
/// weights, for a group with such values is multiplied once more by another unit.
void require_same(const std::vector<float>& was, const std::vector<float>& is, dtype type) {
  if (type != dtype::bf16 || bf16_unit_in_use() != bf16_unit::tiles) {
    REQUIRE(std::memcmp(was.data(), is.data(), was.size() * sizeof(float)) == 0);
    return;
  }
  double moved = 0, size = 0;
  for (std::size_t c = 0; c < was.size(); ++c) {
    moved += std::pow(static_cast<double>(was[c]) - static_cast<double>(is[c]), 2);
    size += std::pow(static_cast<double>(was[c]), 2);
  }
  REQUIRE(std::sqrt(moved) <= 2 * row_bound(type) * std::sqrt(size));
}

/// Bad values of the first sequence and kv head are seen in their column by rows that see their
/// key; all else stays.
void require_kept(const problem& made, const result& before, const std::vector<bad_value>& bad) {
  const auto& of = made.of;
  auto moved = made;
  for (const auto& each : bad)
    moved.put(moved.v, each.key * of.kv_heads * of.head_size + each.col, each.is);
  const auto after = moved.attend();
  for (std::size_t row = 0; row < result::rows(of); ++row) {
    const std::size_t h = row / of.queries % of.heads, i = row % of.queries;
    INFO("head " << h << ", query " << i << ", key " << bad.front().key << " of " << describe(of));
    std::vector<float> was, is;
    for (std::size_t c = 0; c < of.head_size; ++c) {
      const bool seen = std::ranges::any_of(bad, [&](const bad_value& each) {
        return row < of.heads * of.queries && each.col == c && sees(made, h, i, each.key);
      });
      if (seen) {
        REQUIRE(!std::isfinite(after.row(of, row)[c]));
        continue;
      }
      was.push_back(before.row(of, row)[c]);
      is.push_back(after.row(of, row)[c]);
    }
    require_same(was, is, made.type);
    if (before.lse[row] != after.lse[row])
      require_same({before.lse[row]}, {after.lse[row]}, made.type);
  }
}

} // namespace

TEST_CASE("attention: a value that is no number reaches the rows that see its key and no others, "
          "whichever key",
          "[attention]") {
  const std::vector<shape> all{
      {.queries = 70, .keys = 331, .head_size = 40, .causal = true},
      {.queries = 150, .keys = 160, .head_size = 32, .window = 20},
      {.queries = 3, .keys = 331, .head_size = 64, .causal = true},
      {.queries = 60, .keys = 20, .head_size = 32, .causal = true}}; // most rows see no key
  for (const auto& of : all)
    for_each_product([&](dtype type) {
      const problem made(of, type, false, 5);
      const auto before = made.attend();
      for (std::size_t key = 0; key < of.keys; key += tests::sized(1, 29))
        require_kept(made, before, {{key, 3, std::nanf("")}});
    });
}

TEST_CASE("attention: values that are no numbers stay with their rows for heads that share them, "
          "in windows and of every type",
          "[attention]") {
  const std::vector<shape> all{
      {.queries = 150, .keys = 331, .head_size = 64, .causal = true, .window = 60},
      {.queries = 5, .keys = 2500, .head_size = 128, .causal = true, .window = 1301},
      {.batch = 2, .heads = 4, .kv_heads = 2, .queries = 37, .keys = 101, .head_size = 72,
       .causal = true},
      {.heads = 6, .kv_heads = 2, .queries = 1, .keys = 300, .head_size = 128}};
  const auto walk = [&](const shape& of, dtype type) {
    const problem made(of, type, false, 5);
    const auto before = made.attend();
    for (const std::size_t behind : {1, 2, 10, 31, 64, 97})
      require_kept(made, before,
                   {{of.keys - behind, 0, infinity},
                    {of.keys - behind, of.head_size - 1, -infinity},
                    {of.keys - 1 - behind / 2, 7, std::nanf("")}});
  };
  for (const auto& of : all) {
    for_each_product([&](dtype type) { walk(of, type); });
    walk(of, dtype::f16);
  }
}

TEST_CASE("attention: what a bias hides counts nothing though neither its key nor its value is a "
          "number",
          "[attention]") {
  for (const std::size_t queries : {3, 45})
    for (const float by : {-infinity, std::numeric_limits<float>::lowest()})
      for (const bool one : {false, true})
        for_each_product([&](dtype type) {
          problem made({.queries = queries, .keys = 140, .head_size = 64}, type, true, 5);
          made.one_bias = one;
          for (std::size_t i = 0; i < queries; i += 2)
            made.bias[i * 140 + 131] = by;
          const auto before = made.attend();
          require_kept(made, before, {{131, 5, std::nanf("")}, {131, 6, infinity}});
          auto moved = made;
          moved.put(moved.k, 131 * 64 + 9, std::nanf(""));
          const auto after = moved.attend();
          for (std::size_t i = 0; i < queries; ++i)
            for (std::size_t c = 0; c < 64; ++c) {
              const float was = before.row(made.of, i)[c], is = after.row(made.of, i)[c];
              if (sees(made, 0, i, 131))
                REQUIRE(std::isnan(is));
              else
                REQUIRE(std::memcmp(&was, &is, sizeof was) == 0);
            }
          const auto truth = moved.truth();
          for (std::size_t i = 0; i < queries; ++i)
            REQUIRE(std::isnan(truth.lse[i]) == (sees(made, 0, i, 131) || by != -infinity));
        });
}

} // namespace viva::kernels::testing
