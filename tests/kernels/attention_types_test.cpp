// What attention promises of any shape, for every type: bounds on random shapes, whole and in
// parts; that a hidden key moves nothing; memory that heads do not add to.

#include "tests/kernels/attention_problem.hpp"
#include "tests/kernels/attention_products.hpp"
#include "tests/support/sanitized.hpp"

#include <cstdlib>
#include <cstring>
#include <random>
#include <span>

namespace viva::kernels::testing {

using attention::shape;

namespace {

/// On every target; bf16 by every unit, too.
template <class Body>
void for_each_way(dtype type, const Body& body) {
  for_each_target(body);
  if (type == dtype::bf16)
    for_each_bf16_unit(body);
}

shape any_shape(std::mt19937& random) {
  const auto below = [&](std::size_t limit) { return random() % limit; };
  const std::size_t kv_heads = 1 + below(2);
  return {.batch = 1 + below(2),
          .heads = kv_heads * (1 + below(3)),
          .kv_heads = kv_heads,
          .queries = 1 + below(below(2) == 0 ? 8 : 150),
          .keys = 1 + below(below(4) == 0 ? 8 : 300),
          .head_size = 32 + 8 * below(29),
          .causal = below(2) == 0,
          .window = below(3) == 0 ? 1 + below(200) : 0};
}

/// Moves every key of a kv head, one by one: rows that do not see it keep their bytes, those that
/// do have others.
void require_no_leak(const problem& made, std::size_t kv_head) {
  const auto& of = made.of;
  const auto before = made.attend();
  const auto group = of.heads / of.kv_heads;
  for (std::size_t key = 0; key < of.keys; key += tests::sized(1, 9)) {
    auto moved = made;
    moved.move_key(key, kv_head, 8); // enough for a weight of 2^-13 to show in bf16
    const auto after = moved.attend();
    for (std::size_t row = 0; row < result::rows(of); ++row) {
      const auto query = row % of.queries, head = row / of.queries; // of all sequences
      const auto apart = static_cast<long>(query + of.keys) - static_cast<long>(of.queries + key);
      const bool visible = head / group == kv_head && (!of.causal || apart >= 0)
                           && (of.window == 0 || std::abs(apart) < static_cast<long>(of.window));
      const bool same =
          std::memcmp(before.row(of, row), after.row(of, row), 4 * of.head_size) == 0;
      if (same == visible || (!visible && before.lse[row] != after.lse[row]))
        FAIL("row " << row << (visible ? " stays as it was with key " : " moves with key ") << key);
    }
  }
}

} // namespace

TEST_CASE("attention: random shapes of 16-bit types are within the bound, whole and in two parts",
          "[attention]") {
  const auto type = GENERATE(dtype::f16, dtype::bf16);
  std::mt19937 random(1130);
  for (std::size_t round = 0; round < tests::sized(30, 6); ++round) {
    const auto of = any_shape(random);
    const problem made(of, type, random() % 3 == 0, static_cast<std::uint32_t>(round));
    const auto truth = made.truth();
    const std::size_t cut = random() % (of.keys + 1);
    for_each_way(type, [&] {
      INFO(describe(of) << name_of(type) << ", cut at " << cut);
      require_promise(of, made.attend(), truth, type);
      require_promise(of, made.merged({0, cut, of.keys}), truth, type);
      require_promise(of, made.merged({0, cut, of.keys}, type), truth, type);
    });
  }
}

TEST_CASE("attention: parts of 16-bit keys merge to what is computed whole", "[attention]") {
  const shape of{.heads = 4, .kv_heads = 2, .queries = 50, .keys = 333, .head_size = 64,
                 .causal = true, .window = 190};
  for (const auto type : {dtype::f16, dtype::bf16}) {
    const problem made(of, type, true, 12);
    for_each_way(type, [&] {
      const auto whole = as_exact(made.attend());
      for (const auto& cuts : std::vector<std::vector<std::size_t>>{
               {0, 333}, {0, 1, 333}, {0, 100, 200, 300, 333}, {0, 77, 77, 332, 333}}) {
        INFO(name_of(type) << ", " << cuts.size() - 1 << " parts");
        require_close(of, made.merged(cuts), whole, row_bound(type));
      }
    });
  }
}

TEST_CASE("attention: a hidden key moves no row of any type, head size and mask", "[attention]") {
  const std::vector<shape> all{
      {.heads = 4, .kv_heads = 2, .queries = 45, .keys = 61, .head_size = 40, .causal = true},
      {.heads = 2, .kv_heads = 1, .queries = 61, .keys = 45, .head_size = 256, .causal = true,
       .window = 20}, // more queries than keys
      {.heads = 6, .kv_heads = 2, .queries = 3, .keys = 77, .head_size = 64, .causal = true,
       .window = 30}, // few
      {.heads = 2, .kv_heads = 2, .queries = 40, .keys = 70, .head_size = 96, .window = 17},
      {.batch = 2, .heads = 3, .kv_heads = 1, .queries = 33, .keys = 65, .head_size = 128,
       .causal = true},
      {.heads = 8, .kv_heads = 2, .queries = 2, .keys = 50, .head_size = 256, .causal = true}};
  tests::each_or_every_fourth(all, [](const shape& of) {
    for (const auto type : {dtype::f32, dtype::f16, dtype::bf16}) {
      const problem made(of, type, false, 5);
      for_each_way(type, [&] {
        INFO(describe(of) << name_of(type));
        require_no_leak(made, of.kv_heads - 1);
      });
    }
  });
}

TEST_CASE("attention: what a thread needs besides its tensors does not grow with heads, and stays "
          "below a MiB",
          "[attention]") {
  constexpr dtype all[] = {dtype::f32, dtype::f16, dtype::bf16};
  for (const auto type : std::span(all).first(tests::sized(3, 1)))
    for (const std::size_t head_size : {40, 256})
      for (const std::size_t queries : {1, 40})
        for_each_way(type, [&] {
          const auto bytes_of_heads = [&](std::size_t heads, std::size_t kv_heads) {
            const shape of{.heads = heads, .kv_heads = kv_heads, .queries = queries, .keys = 50,
                           .head_size = head_size, .causal = true};
            const problem made(of, type, false, 1);
            result got(of, type);
            scratch memory; // of the one thread that computes all pieces
            REQUIRE(attention::attend(of, made.in(), got.to(of), 0, attention::pieces(of), memory)
                    == status{});
            return memory.bytes();
          };
          const auto one = bytes_of_heads(1, 1);
          REQUIRE(one > 0);
          REQUIRE(one < 1 << 20);
          for (const std::size_t heads : {std::size_t{3}, tests::sized(16, 6)}) {
            REQUIRE(bytes_of_heads(heads, heads) == one);
            REQUIRE(bytes_of_heads(heads, 1) == one);
          }
        });
}

} // namespace viva::kernels::testing
