// Attention at the ends of what people ask of it: masks by large biases, and keys without number.

#include "tests/kernels/attention_problem.hpp"
#include "tests/kernels/attention_products.hpp"
#include "tests/support/sanitized.hpp"

#include <limits>

namespace viva::kernels::testing {

using attention::shape;

namespace {

/// Bias of `by` on the first keys of each row: one key more from row to row, up to 40.
void mask_first(problem& made, float by) {
  const auto keys = made.of.keys;
  for (std::size_t row = 0; row < made.bias.size() / keys; ++row)
    for (std::size_t j = 0; j <= row % 40; ++j)
      made.bias[row * keys + j] = by;
}

} // namespace

TEST_CASE("attention: keys that a bias masks by any large number cost the others nothing",
          "[attention]") {
  for (const std::size_t queries : {3, 70})
    for (const float by : {-100.0f, -1e4f, -1e9f, -1e30f, std::numeric_limits<float>::lowest()})
      for_each_product([&](dtype type) {
        const shape of{.queries = queries, .keys = 200, .head_size = 64};
        problem made(of, type, true, 5);
        mask_first(made, by);
        INFO(queries << " queries, bias " << by << ", " << name_of(type));
        require_promise(of, made.attend(), made.truth(), type);
      });
}

TEST_CASE("attention: a mask by a large number that comes last hides as the first", "[attention]") {
  for_each_product([&](dtype type) {
    const shape of{.queries = 50, .keys = 150, .head_size = 32};
    problem made(of, type, true, 6);
    for (std::size_t row = 0; row < of.queries; ++row)
      for (std::size_t j = of.keys - 1 - row; j < of.keys; ++j)
        made.bias[row * of.keys + j] = -1e9f;
    require_promise(of, made.attend(), made.truth(), type);
  });
}

TEST_CASE("attention: scores below f32's range hide their keys, those above make NaN",
          "[attention]") {
  for (const std::size_t queries : {2, 40})
    for_each_target([&] {
      const shape of{.queries = queries, .keys = 60, .head_size = 32};
      problem made(of, dtype::f32, false, 9);
      const auto all_of = [&](std::vector<std::byte>& side, std::size_t row, float x) {
        for (std::size_t c = 0; c < of.head_size; ++c)
          made.put(side, row * of.head_size + c, x);
      };
      for (std::size_t i = 0; i < queries; ++i)
        all_of(made.q, i, i == 0 ? 1e25f : 1.0f);
      all_of(made.k, 20, -1e25f); // for the first query far below everything
      auto without = made;
      without.bias.assign(queries * of.keys, 0.0f);
      without.bias[20] = -std::numeric_limits<float>::infinity();
      const auto got = made.attend(), wanted = without.attend();
      for (std::size_t c = 0; c < of.head_size; ++c)
        CHECK(got.row(of, 0)[c] == wanted.row(of, 0)[c]);
      all_of(made.k, 20, 1e25f);
      CHECK(std::isnan(made.attend().row(of, 0)[0]));
      CHECK(std::isfinite(made.attend().row(of, 1)[0]));
    });
}

TEST_CASE("attention: of 65,536 keys f32 is still within 2e-6 of double", "[attention]") {
  const std::size_t keys = tests::sized(std::size_t{1} << 16, std::size_t{1} << 12);
  for (const std::size_t queries : {1, 3, 20})
    for (const bool biased : {false, true}) {
      const shape of{.queries = queries, .keys = keys, .head_size = 64};
      const problem made(of, dtype::f32, biased, 11);
      const auto got = made.attend();
      const auto truth = made.truth();
      INFO(queries << " queries" << (biased ? ", biased" : ""));
      require_close(of, got, truth, 2e-6);
      REQUIRE(error_of_whole(got, truth) <= 1e-6);
    }
}

TEST_CASE("attention: each of its inputs may be of a type of its own", "[attention]") {
  for (const std::size_t queries : {2, 45}) {
    const shape of{.heads = 2, .queries = queries, .keys = 130, .head_size = 64, .causal = true};
    const problem f32(of, dtype::f32, false, 21), f16(of, dtype::f16, false, 22),
        bf16(of, dtype::bf16, false, 23);
    const attention::inputs mixed{f16.in().q, bf16.in().k, f32.in().v};
    exact truth{std::vector<double>(result::rows(of) * of.head_size),
                std::vector<double>(result::rows(of))};
    REQUIRE(attention::attend_reference(of, mixed, truth.out.data(), truth.lse.data())
            == status{});
    for_each_target([&] {
      result got(of, dtype::f32);
      scratch memory;
      REQUIRE(attention::attend(of, mixed, got.to(of), 0, attention::pieces(of), memory)
              == status{});
      require_close(of, got, truth, 2e-6);
    });
  }
}

} // namespace viva::kernels::testing
