// Values that are no numbers, where some rows see their keys and others do not.

#include "tests/kernels/attention_problem.hpp"
#include "tests/kernels/attention_products.hpp"

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

/// Whether row i sees the key: by its place, and by a bias that is not -inf.
bool sees(const problem& made, std::size_t i, std::size_t key) {
  const auto& of = made.of;
  const auto at =
      static_cast<std::ptrdiff_t>(i + of.keys) - static_cast<std::ptrdiff_t>(of.queries);
  const auto j = static_cast<std::ptrdiff_t>(key);
  const auto window = static_cast<std::ptrdiff_t>(of.window);
  return (!of.causal || j <= at) && (window == 0 || (at - j < window && j - at < window))
         && (made.bias.empty() || made.bias[i * of.keys + key] != -infinity);
}

/// Bytes that stay; by matrix tiles a number that stays within bf16's rounding of weights, for
/// such a piece is multiplied once more by another unit.
bool same(float was, float is, dtype type) {
  if (type == dtype::bf16 && bf16_unit_in_use() == bf16_unit::tiles)
    return std::fabs(was - is) <= 0.02f;
  return std::memcmp(&was, &is, sizeof was) == 0;
}

/// Rows that see a bad value have none of that column; all else stays.
void require_kept(const problem& made, const std::vector<bad_value>& bad) {
  const auto& of = made.of;
  const auto before = made.attend();
  auto moved = made;
  for (const auto& each : bad)
    moved.put(moved.v, each.key * of.head_size + each.col, each.is);
  const auto after = moved.attend();
  for (std::size_t i = 0; i < of.queries; ++i) {
    REQUIRE(same(before.lse[i], after.lse[i], made.type));
    for (std::size_t c = 0; c < of.head_size; ++c) {
      bool seen = false;
      for (const auto& each : bad)
        seen = seen || (each.col == c && sees(made, i, each.key));
      INFO("query " << i << " column " << c << " of " << describe(of));
      if (seen)
        REQUIRE(!std::isfinite(after.row(of, i)[c]));
      else
        REQUIRE(same(before.row(of, i)[c], after.row(of, i)[c], made.type));
    }
  }
}

/// Of one head: few rows and many, tiles that lie apart, an odd number of keys.
std::vector<shape> shapes() {
  return {{.queries = 70, .keys = 331, .head_size = 40, .causal = true},
          {.queries = 150, .keys = 331, .head_size = 64, .causal = true, .window = 60},
          {.queries = 150, .keys = 160, .head_size = 32, .window = 20},
          {.queries = 3, .keys = 331, .head_size = 64, .causal = true},
          {.queries = 5, .keys = 2500, .head_size = 128, .causal = true, .window = 1301}};
}

} // namespace

TEST_CASE("attention: a value that is no number reaches the rows that see its key and no others",
          "[attention]") {
  for (const auto& of : shapes())
    for_each_product([&](dtype type) {
      const problem made(of, type, false, 5);
      const std::size_t last = of.keys - 1;
      require_kept(made, {{last, 3, std::nanf("")}});
      require_kept(made, {{last - 1, 0, infinity}, {last - 1, of.head_size - 1, -infinity},
                          {last - 9, 7, std::nanf("")}});
    });
}

TEST_CASE("attention: a value that is no number behind a bias of -inf reaches nobody it hides from",
          "[attention]") {
  for (const std::size_t queries : {3, 45})
    for_each_product([&](dtype type) {
      problem made({.queries = queries, .keys = 140, .head_size = 64}, type, true, 5);
      for (std::size_t i = 0; i < queries; i += 2)
        made.bias[i * 140 + 131] = -infinity;
      require_kept(made, {{131, 5, std::nanf("")}, {131, 6, infinity}});
    });
}

} // namespace viva::kernels::testing
