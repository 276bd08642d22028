// Views to planes and back for measuring: the same sums in runs as at once, and no thread keeps
// memory of the size of a tensor.

#include "actors/pipeline/encode_view.hpp"
#include "actors/pipeline/lane_shelf.hpp"
#include "kernels/convert.hpp"
#include "tests/actors/tensors.hpp"
#include "tests/support/sanitized.hpp"

#include <atomic>
#include <cmath>
#include <limits>
#include <malloc.h>
#include <optional>
#include <string>
#include <thread>

using namespace viva;
using namespace viva::testing;

namespace {

const std::atomic<bool> condemned{false};
actors::lane_shelf shelf;

/// What the tensor becomes; nothing where the method does not take it.
std::optional<encoded> encode(const kernels::recipe& how, const tensor_view& view) {
  encoded made(how, view.rows, view.cols);
  const auto done = actors::encode_whole(how, view, made.map(), made.data(), made.numbers,
                                         actors::lane_floor{condemned, shelf});
  return done ? std::optional(std::move(made)) : std::nullopt;
}

tensor_error measured(encoded& made, const kernels::recipe& how, const tensor_view& view) {
  return actors::measure_whole(how, view, made.map(), made.data(), made.numbers);
}

/// All values at once, eight sums of each kind, row by row.
tensor_error at_once(const encoded& made, const tensor_view& view) {
  std::vector<float> decoded(view.values()), source(view.cols);
  REQUIRE(made.decode(decoded));
  double errors[8]{}, sources[8]{};
  float most = 0;
  for (std::uint64_t r = 0; r < view.rows; ++r) {
    kernels::load_f32(view.data + r * view.step(), view.type, view.cols, source.data());
    for (std::uint64_t c = 0; c < view.cols; ++c) {
      const float e = source[c] - decoded[r * view.cols + c];
      errors[c % 8] += double(e) * e;
      sources[c % 8] += double(source[c]) * source[c];
      most = std::max(most, std::abs(e));
    }
  }
  double e = 0, s = 0;
  for (int i = 0; i < 8; ++i) {
    e += errors[i];
    s += sources[i];
  }
  return {e / static_cast<double>(view.values()),
          e > 0 ? 10 * std::log10(s / e) : std::numeric_limits<double>::infinity(), most};
}

/// Bytes of memory in use that `work` leaves behind in a thread that goes on.
template <class Work>
std::int64_t left_behind(const Work& work) {
  std::int64_t left = 0;
  std::jthread([&] {
    const auto in_use = [] {
      const auto all = ::mallinfo2();
      return static_cast<std::int64_t>(all.uordblks + all.hblkhd);
    };
    const auto before = in_use();
    work();
    left = in_use() - before;
  }).join();
  return left;
}

constexpr std::size_t long_row = (256 << 10) + 4096; // more than a run of rows takes

} // namespace

TEST_CASE("encode view: errors of every method are those of all values at once") {
  const auto values = normal_values(2 * long_row, 1);
  std::size_t seen = 0;
  tests::each_or_every_fourth(kernels::methods(), [&](const kernels::method& method) {
    INFO(method.name);
    const auto how = kernels::parse_recipe(method.name, dtype::f32).value();
    for (const std::uint64_t cols : {std::uint64_t{long_row}, std::uint64_t{4096}}) {
      const auto view = matrix_of(std::span(values).first(long_row), cols);
      auto made = encode(how, view);
      if (!made)
        continue;
      const auto got = measured(*made, how, view), must = at_once(*made, view);
      CHECK(got.mse == must.mse);
      CHECK(got.snr_db == must.snr_db);
      CHECK(got.max_error == must.max_error);
      ++seen;
    }
  });
  CHECK(seen >= tests::sized(40, 10));
  const auto two = matrix_of(values, long_row); // rows after the first begin anywhere
  const auto how = kernels::parse_recipe("int8", dtype::f32).value();
  auto made = encode(how, two);
  REQUIRE(made.has_value());
  CHECK(measured(*made, how, two).mse == at_once(*made, two).mse);
}

TEST_CASE("encode view: a thread keeps no memory of the size of what it measured") {
  if (tests::sanitized) // which holds memory of its own
    return;
  const auto values = normal_values(8 << 20, 2);
  for (const auto* words : {"nf4", "int8"}) {
    CAPTURE(words);
    const auto how = kernels::parse_recipe(words, dtype::f32).value();
    const auto view = view_of(std::span<const float>(values)); // 32 MiB in one row
    auto made = encode(how, view);
    REQUIRE(made.has_value());
    CHECK(left_behind([&] { measured(*made, how, view); }) < 4 << 20);
  }
}

TEST_CASE("encode view: rows apart are brought together only where they must be, and let go") {
  const std::size_t cols = (2 << 20) + 1; // no whole blocks: rows belong together
  const auto values = normal_values(2 * cols + 7, 3);
  tensor_values dense(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(cols));
  dense.insert(dense.end(), values.end() - static_cast<std::ptrdiff_t>(cols), values.end());
  auto apart = view_of(std::span<const float>(values));
  apart = {apart.data, 2, cols, (cols + 7) * sizeof(float), dtype::f32};
  const auto together = matrix_of(dense, cols);
  for (const auto* words : {"nf4", "int8"}) {
    CAPTURE(words);
    const auto how = kernels::parse_recipe(words, dtype::f32).value();
    const bool must = std::string(words) == "nf4";
    CHECK(actors::together_bytes(how, together) == 0);
    CHECK(actors::together_bytes(how, apart) == (must ? 2 * cols * sizeof(float) : 0));
    auto a = encode(how, apart), b = encode(how, together);
    REQUIRE(a.has_value());
    REQUIRE(b.has_value());
    CHECK(same_bytes(a->view(), b->view()));
    if (!tests::sanitized)
      CHECK(left_behind([&] {
              encode(how, apart);
            })
            < 4 << 20);
  }
}

TEST_CASE("pipeline: what rows that are apart take while they are together counts as its own") {
  const std::size_t cols = (1 << 20) + 1;
  const auto values = normal_values(2 * cols + 7, 3);
  const auto data = view_of(std::span<const float>(values)).data;
  pipeline pipe{{.lanes = 2, .budget_bytes = 4 << 20}}; // the result takes 1.2 MB
  const tensor_view dense{data, 2, cols, 0, dtype::f32};
  CHECK(pipe.quantize(dense, nf4{}).get().has_value());
  const tensor_view apart{data, 2, cols, (cols + 7) * sizeof(float), dtype::f32};
  const auto refused = pipe.quantize(apart, nf4{}).get(); // 8 MiB
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code == errc::over_budget);
  const auto rows = pipe.quantize(apart, int8{}).get(); // each lies in one piece
  REQUIRE(rows.has_value());
}

TEST_CASE("stream: what lanes take to bring rows together is of the budget, or the tensor fails") {
  const std::size_t cols = (1 << 17) + 1; // all results fit into one batch
  const auto values = normal_values(512 + 2 * cols + 7, 3);
  const auto data = view_of(std::span<const float>(values)).data;
  const tensor_view small{data, 1, 512, 0, dtype::f32};
  const tensor_view apart{data, 2, cols, (cols + 7) * sizeof(float), dtype::f32};
  auto behind = apart; // where the small one ends: it follows that one and none of its own shape
  behind.data += 512 * sizeof(float);
  const std::vector<tensor_view> tensors{small, apart, behind, small};
  const auto how = kernels::parse_recipe("nf4", dtype::f32).value();
  const auto two_lanes = 2 * 2 * cols * sizeof(float);
  for (const bool enough : {true, false}) {
    pipeline pipe{{.lanes = 2, .budget_bytes = enough ? 48u << 20 : 5u << 18}};
    std::uint64_t before = 0;
    {
      const std::span one(tensors.data(), 1);
      auto plain = pipe.stream(one, nf4{});
      REQUIRE(plain.step());
      before = pipe.metrics().queue->budget_bytes;
    }
    std::size_t at = 0;
    for (auto&& [index, result] : pipe.stream(tensors, nf4{}, {.in_order = true})) {
      CAPTURE(enough, index);
      CHECK(index == at++);
      CHECK(result.has_value() == (enough || index % 3 == 0));
      if (!result)
        CHECK(result.error().code == errc::over_budget);
      else
        CHECK(same_bytes(*result, encode(how, tensors[index])->view()));
      if (index == 3)
        CHECK(pipe.metrics().queue->budget_bytes == before + (enough ? two_lanes : 0));
    }
    CHECK(at == tensors.size());
    CHECK(pipe.metrics().queue->budget_bytes == 0);
  }
}
