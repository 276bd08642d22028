// Methods whose search weighs errors by what goes into the columns (recipe::channels): published
// bytes, equality on every target, and less of the error that counts.

#include "kernels/scalar.hpp"
#include "tests/kernels/data.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/kernels/targets.hpp"

#include <cmath>
#include <random>

namespace viva::kernels::testing {

namespace {

constexpr const char* methods_weighed[] = {
    "q4_0", "q4_1", "q5_0", "q5_1", "int4:search", "int4:group=32:asym:search",
    "nvfp4-four-or-six"};
constexpr dtype dtypes[] = {dtype::f32, dtype::f16, dtype::bf16};

/// The imatrix of the golden vectors.
std::vector<float> importance(std::size_t count, std::uint32_t seed) {
  std::vector<float> made;
  for (std::size_t i = 0; i < count; ++i) {
    seed = seed * 1664525u + 1013904223u;
    const auto whole = static_cast<std::int32_t>(seed >> 8) - 8388608;
    const float u = static_cast<float>(whole) * (1 / 8388608.0f);
    made.push_back(u * u + 0.01f);
  }
  return made;
}

/// Some columns far above the others, some without any input.
std::vector<float> uneven(std::size_t count) {
  std::mt19937 random(5);
  std::vector<float> made;
  for (std::size_t i = 0; i < count; ++i)
    made.push_back(random() % 7 == 0 ? 0.0f : std::exp(3 * normal(random)));
  return made;
}

planes encoded(const recipe& with, const matrix& in, path which) {
  planes out(with, in.rows, in.cols);
  const auto encode =
      which == path::reference ? with.row->encode_reference : with.row->encode_simd;
  REQUIRE(encode(with, in, numbers_of(with, in), out.pointers()) == status{});
  return out;
}

/// Σ channel (x' - x)².
double weighed_error(const recipe& with, const matrix& in, std::span<const float> channels) {
  const auto made = encoded(with, in, path::simd);
  std::vector<float> back(in.values());
  REQUIRE(with.row->decode_simd(with, in.rows, in.cols, numbers_of(with, in), made.pointers(),
                                back.data())
          == status{});
  double error = 0;
  for (std::size_t i = 0; i < back.size(); ++i) {
    const double e = back[i] - value_of(in, i);
    error += channels[i % in.cols] * e * e;
  }
  return error;
}

} // namespace

TEST_CASE("GGUF blocks weighed by an imatrix have ggml's bytes", "[golden][weighed]") {
  const auto which = GENERATE(path::reference, path::simd);
  const auto [name, hash] = GENERATE(table<std::string, std::uint64_t>({
      {"q4_0", 0x0784b63e67e704dau},
      {"q4_1", 0xd58c822e2f8cb22du},
      {"q5_0", 0x1d4b742045c72acbu},
      {"q5_1", 0x4693b0be16150955u},
      {"q8_0", 0x6f36a741c5a7c87eu}, // has nothing to choose
  }));
  CAPTURE(name, name_of(which));
  const auto source = make_tensor(generate(8192, 12345), dtype::f32, 8, 1024);
  const auto weights = importance(1024, 777);
  auto with = recipe_of(name, dtype::f32);
  with.channels = weights;
  REQUIRE(golden_hash(encoded(with, source.view(), which).each[0]) == hash);
}

TEST_CASE("weighed searches are alike on every target, on data that breaks encoders",
          "[weighed][simd]") {
  constexpr std::size_t cols = 384, rows = 3;
  const auto weights = uneven(cols);
  for (const auto* text : methods_weighed)
    for (const auto type : dtypes)
      for (const auto& set : data_sets()) {
        auto with = recipe_of(text, type);
        with.channels = weights;
        const auto source = make_tensor(values_of(set, rows * cols, type, 9), type, rows, cols);
        const auto wanted = encoded(with, source.view(), path::reference);
        INFO(text << ", " << set.name << ", " << name_of(type));
        for_each_target([&] { REQUIRE(encoded(with, source.view(), path::simd) == wanted); });
        std::vector<float> back(rows * cols);
        REQUIRE(with.row->decode_simd(with, rows, cols, numbers_of(with, source.view()),
                                      wanted.pointers(), back.data())
                == status{}); // sums beyond f32 leave no NaN in the scales
      }
}

TEST_CASE("weighed searches are alike on every target, at every shape of rows and batches",
          "[weighed][simd]") {
  constexpr std::size_t widths[] = {1, 2, 3, 5, 17, 33, 131}; // of the fewest columns
  for (const auto* text : methods_weighed)
    for (const auto type : dtypes)
      for (const auto width : widths)
        for (const std::size_t rows : {1, 2, 7, 8, 19}) {
          auto with = recipe_of(text, type);
          const auto cols = width * static_cast<std::size_t>(with.cols_multiple());
          if (rows * cols > 40'000)
            continue;
          const auto weights = uneven(cols);
          with.channels = weights;
          const auto values = values_of(data_sets().front(), rows * cols, type, 11);
          const auto source = make_tensor(values, type, rows, cols);
          const auto wanted = encoded(with, source.view(), path::reference);
          INFO(text << ", " << name_of(type) << ", " << rows << " x " << cols);
          for_each_target([&] { REQUIRE(encoded(with, source.view(), path::simd) == wanted); });
        }
}

TEST_CASE("weighed searches err less where it counts", "[weighed][quality]") {
  constexpr std::size_t cols = 512, rows = 64;
  std::mt19937 random(8);
  std::vector<float> values;
  for (std::size_t i = 0; i < rows * cols; ++i)
    values.push_back(normal(random));
  const auto source = make_tensor(values, dtype::f32, rows, cols);
  const auto weights = uneven(cols);
  for (const auto* text : methods_weighed) {
    auto with = recipe_of(text, dtype::f32);
    const double plain = weighed_error(with, source.view(), weights);
    with.channels = weights;
    const double weighed = weighed_error(with, source.view(), weights);
    INFO(text << ": " << plain << " unweighed, " << weighed << " weighed");
    CHECK(weighed < 0.95 * plain);
  }
}

TEST_CASE("weighed searches refuse NaN and infinity where they stand", "[weighed][edge]") {
  const auto weights = uneven(128);
  for (const auto* text : methods_weighed)
    for (const float bad : {std::nanf(""), HUGE_VALF}) {
      std::vector<float> values(3 * 128, 0.5f);
      values[200] = bad;
      const auto source = make_tensor(values, dtype::f32, 3, 128);
      auto with = recipe_of(text, dtype::f32);
      with.channels = weights;
      planes out(with, 3, 128);
      for (const auto encode : {with.row->encode_reference, with.row->encode_simd}) {
        const auto refused = encode(with, source.view(), {{1.0f, 0.0f}}, out.pointers());
        REQUIRE(refused.code == errc::not_finite);
        REQUIRE(refused.position == 200);
      }
    }
}

} // namespace viva::kernels::testing
