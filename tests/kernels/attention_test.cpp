// Attention against the truth in double: every kind of mask, type, group of heads and length, on
// every target; what must not move when a hidden key does; what merges.

#include "tests/kernels/attention_problem.hpp"
#include "tests/kernels/attention_products.hpp"
#include "tests/support/sanitized.hpp"

#include <bit>
#include <cstring>
#include <limits>

namespace viva::kernels::testing {

using attention::shape;

namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

void require_truth(const shape& of, dtype type, bool biased) {
  const problem made(of, type, biased, 7);
  const auto truth = made.truth();
  for_each_target([&] {
    INFO(describe(of) << " " << name_of(type) << (biased ? " biased" : ""));
    const auto got = made.attend();
    require_promise(of, got, truth, type);
  });
}

} // namespace

TEST_CASE("attention: f32 is within 2e-6 of double, row by row, whatever the shape",
          "[attention]") {
  for (const auto& of : attention_shapes())
    for (const bool biased : {false, true})
      require_truth(of, dtype::f32, biased);
}

TEST_CASE("attention: 16-bit inputs are within their rounding of double", "[attention]") {
  for (const auto& of : attention_shapes()) {
    require_truth(of, dtype::bf16, false);
    require_truth(of, dtype::f16, true);
  }
}

TEST_CASE("attention: each unit that multiplies bf16 is within its rounding of double",
          "[attention]") {
  auto all = attention_shapes();
  for (const std::size_t keys : {31, 32, 33, 127, 128, 129, 159, 160, 161, 300})
    for (const std::size_t head_size : {32, 96, 256})
      all.push_back({.queries = 60, .keys = keys, .head_size = head_size, .causal = keys % 2 == 0});
  // One piece has the last queries of a head and the first of the next: what these see lies tiles
  // of keys before what those see, and nobody sees what lies between.
  all.push_back({.heads = 2, .queries = 448, .keys = 448, .head_size = 64, .window = 33});
  for (const auto& of : all)
    for (const bool biased : {false, true}) {
      const problem made(of, dtype::bf16, biased, 17);
      const auto truth = made.truth();
      for_each_bf16_unit([&] {
        INFO(describe(of) << (biased ? " biased" : ""));
        require_promise(of, made.attend(), truth, dtype::bf16);
      });
    }
}

TEST_CASE("attention: scores that climb, fall or are huge lose nothing to rescaling",
          "[attention]") {
  const shape of{.queries = 70, .keys = 700, .head_size = 64};
  for (const float slope : {0.5f, -0.5f, 0.02f, -3.0f})
    for_each_product([&](dtype type) {
      problem made(of, type, false, 3);
      made.ramp(slope); // scores change by about slope from key to key
      INFO("slope " << slope);
      require_close(of, made.attend(), made.truth(),
                    row_bound(type) + 0x1p-22 * 700 * std::fabs(slope));
    });
}

TEST_CASE("attention: a hidden key moves nothing, a visible one moves its rows", "[attention]") {
  const shape of{.queries = 70, .keys = 90, .head_size = 32, .causal = true, .window = 50};
  for_each_product([&](dtype type) {
    const problem made(of, type, false, 5);
    const auto before = made.attend();
    for (std::size_t key = 0; key < of.keys; ++key) {
      auto moved = made;
      moved.move_key(key);
      const auto after = moved.attend();
      for (std::size_t i = 0; i < of.queries; ++i) {
        const std::size_t p = i + of.keys - of.queries;
        const bool visible = key <= p && p - key < of.window;
        INFO("query " << i << " key " << key);
        const bool same = std::memcmp(before.row(of, i), after.row(of, i), 4 * of.head_size) == 0;
        REQUIRE(same != visible);
        REQUIRE((before.lse[i] == after.lse[i]) != visible);
      }
    }
  });
}

TEST_CASE("attention: a window wider than all keys and queries hides nothing", "[attention]") {
  const shape plain{.queries = 70, .keys = 90, .head_size = 32};
  const problem made(plain, dtype::f32, false, 5);
  for (const auto window : {std::size_t{160}, ~std::size_t{0}, ~std::size_t{0} / 2}) {
    auto wide = plain;
    wide.window = window;
    CHECK(wide.reach() == 160);
    const problem same(wide, dtype::f32, false, 5);
    require_close(wide, same.attend(), made.truth(), 2e-6);
    require_close(wide, same.attend(), same.truth(), 2e-6);
  }
}

TEST_CASE("attention: a row without a key is zeros with a log-sum-exp of -inf", "[attention]") {
  const shape of{.queries = 80, .keys = 30, .head_size = 64, .causal = true};
  problem hidden({.queries = 5, .keys = 70, .head_size = 64}, dtype::f32, true, 1);
  std::fill(hidden.bias.begin(), hidden.bias.begin() + 3 * 70, minus_infinity);
  for_each_target([&] {
    const auto got = problem(of, dtype::f32, false, 1).attend();
    for (std::size_t i = 0; i < of.queries; ++i) {
      const bool none = i < 50;
      REQUIRE((got.lse[i] == minus_infinity) == none);
      for (std::size_t c = 0; c < of.head_size; ++c)
        REQUIRE((got.row(of, i)[c] == 0) == none);
    }
    const auto masked = hidden.attend();
    for (std::size_t i = 0; i < 5; ++i) {
      REQUIRE((masked.lse[i] == minus_infinity) == (i < 3));
      REQUIRE((masked.row(hidden.of, i)[0] == 0) == (i < 3));
    }
  });
}

TEST_CASE("attention: NaN in a query or a visible key reaches its rows", "[attention]") {
  const shape of{.queries = 40, .keys = 60, .head_size = 32, .causal = true};
  for_each_product([&](dtype type) {
    problem made(of, type, false, 2);
    made.put(made.q, 7 * of.head_size + 3, std::nanf(""));
    made.put(made.k, 50 * of.head_size, std::nanf("")); // seen by queries 30 and later
    const auto got = made.attend();
    for (std::size_t i = 0; i < of.queries; ++i) {
      INFO("query " << i);
      REQUIRE(std::isnan(got.row(of, i)[0]) == (i == 7 || i >= 30));
      REQUIRE(std::isnan(got.lse[i]) == (i == 7 || i >= 30));
    }
  });
}

TEST_CASE("attention: NaN of any digits reaches its rows, of few queries and of many",
          "[attention]") {
  for (const std::size_t queries : {3, 40})
    for (const auto bits : {0x7F800001u, 0xFFC00001u, 0x7FFFFFFFu, 0x7FC00155u}) {
      const shape of{.queries = queries, .keys = 60, .head_size = 32, .causal = true};
      problem made(of, dtype::f32, false, 2);
      const auto bad = std::bit_cast<float>(bits);
      made.put(made.q, 1 * of.head_size + 3, bad);
      made.put(made.k, 59 * of.head_size, bad); // seen by the last query
      for_each_target([&] {
        const auto got = made.attend();
        for (std::size_t i = 0; i < of.queries; ++i) {
          INFO("query " << i << " of " << queries << ", NaN " << bits);
          REQUIRE(std::isnan(got.row(of, i)[0]) == (i == 1 || i + 1 == queries));
          REQUIRE(std::isnan(got.lse[i]) == (i == 1 || i + 1 == queries));
        }
      });
    }
}

TEST_CASE("attention: NaN in one query leaves the others alone, however high their scores climb",
          "[attention]") {
  const shape of{.queries = 64, .keys = 150, .head_size = 32};
  for_each_product([&](dtype type) {
    for (const std::size_t bad : {8, 16, 32}) { // beside a row of the first vector, on any target
      problem made(of, type, false, 3);
      made.ramp(3);
      for (std::size_t i = 1; i < of.queries; ++i)
        made.put(made.q, i * of.head_size, 0); // row 0 alone climbs
      const auto whole = made.attend();
      made.put(made.q, bad * of.head_size, std::nanf(""));
      const auto got = made.attend();
      for (std::size_t i = 0; i < of.queries; ++i) {
        INFO("query " << i << " beside " << bad);
        if (i == bad)
          REQUIRE(std::isnan(got.row(of, i)[0]));
        else
          REQUIRE(std::equal(got.row(of, i), got.row(of, i + 1), whole.row(of, i)));
      }
    }
  });
}

TEST_CASE("attention: any cut into pieces, in any order, gives the same bytes", "[attention]") {
  const shape of{
      .batch = 2, .heads = 4, .kv_heads = 2, .queries = 200, .keys = 77, .head_size = 32};
  for_each_product([&](dtype type) {
    const problem made(of, type, false, 9);
    const auto whole = made.attend();
    result other(of, type);
    scratch memory;
    const std::size_t count = attention::pieces(of);
    REQUIRE(count >= 4);
    for (std::size_t i = count; i-- > 0;)
      REQUIRE(attention::attend(of, made.in(), other.to(of), i, 1, memory) == status{});
    REQUIRE(other.bytes == whole.bytes);
    REQUIRE((type != dtype::f32 || other.out == whole.out));
    REQUIRE(other.lse == whole.lse);
  });
}

TEST_CASE("attention: parts over any split of the keys merge to the whole", "[attention]") {
  const shape of{.heads = 2,
                 .kv_heads = 1,
                 .queries = 60,
                 .keys = 211,
                 .head_size = 64,
                 .causal = true,
                 .window = 100};
  for_each_product([&](dtype type) {
    const problem made(of, type, false, 11);
    const auto truth = made.truth();
    for (const auto& cuts : std::vector<std::vector<std::size_t>>{
             {0, 211}, {0, 1, 211}, {0, 64, 128, 211}, {0, 30, 30, 150, 210, 211}}) {
      const auto merged = made.merged(cuts);
      INFO(cuts.size() - 1 << " parts");
      require_promise(of, merged, truth, type);
    }
  });
}

TEST_CASE("attention: random shapes are within the bound, whole and in two parts", "[attention]") {
  std::mt19937 random(2026);
  const auto below = [&](std::size_t limit) { return random() % limit; };
  for (std::size_t round = 0; round < tests::sized(60, 12); ++round) {
    const std::size_t kv_heads = 1 + below(2);
    const shape of{.batch = 1 + below(2),
                   .heads = kv_heads * (1 + below(3)),
                   .kv_heads = kv_heads,
                   .queries = 1 + below(150),
                   .keys = 1 + below(300),
                   .head_size = 32 + 8 * below(13),
                   .causal = below(2) == 0,
                   .window = below(3) == 0 ? 1 + below(200) : 0};
    const problem made(of, dtype::f32, below(3) == 0, static_cast<std::uint32_t>(round));
    const auto truth = made.truth();
    const std::size_t cut = below(of.keys + 1);
    for_each_target([&] {
      INFO(describe(of));
      require_close(of, made.attend(), truth, 2e-6);
      require_close(of, made.merged({0, cut, of.keys}), truth, 2e-6);
    });
  }
}

TEST_CASE("attention: what it needs besides its tensors does not grow with lengths",
          "[attention]") {
  for_each_target([&] {
    const auto bytes_of_length = [](std::size_t n) {
      const shape of{.queries = n, .keys = n, .head_size = 32, .causal = true};
      const problem made(of, dtype::f32, false, 1);
      scratch memory;
      result got(of);
      REQUIRE(attention::attend(of, made.in(), got.to(of), 0, attention::pieces(of), memory)
              == status{});
      return memory.bytes();
    };
    const auto small = bytes_of_length(64);
    REQUIRE(small > 0);
    REQUIRE(small < 1 << 20);
    REQUIRE(bytes_of_length(2048) == small);
  });
}

TEST_CASE("attention: shapes it cannot take are refused", "[attention]") {
  const auto refused = [](shape of) { return attention::check(of) == status{errc::bad_shape}; };
  const shape fine{.heads = 4, .kv_heads = 2, .queries = 1, .keys = 1, .head_size = 64};
  CHECK_FALSE(refused(fine));
  for (const std::size_t size : {0, 24, 33, 36, 264}) {
    auto of = fine;
    of.head_size = size;
    CHECK(refused(of));
  }
  for (const std::size_t kv_heads : {0, 3, 8}) {
    auto of = fine;
    of.kv_heads = kv_heads;
    CHECK(refused(of));
  }
  scratch memory;
  CHECK(attention::attend({.heads = 3, .kv_heads = 2, .head_size = 64}, {}, {}, 0, 1, memory)
        == status{errc::bad_shape});
}

} // namespace viva::kernels::testing
