// Methods whose search weighs errors by what goes into the columns (recipe::channels): published
// bytes, equality on every target, and less of the error that counts.

#include "kernels/channels.hpp"
#include "kernels/scalar.hpp"
#include "tests/kernels/bounds.hpp"
#include "tests/kernels/data.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/kernels/targets.hpp"

#include <rapidcheck.h>

#include <cmath>
#include <random>

namespace viva::kernels::testing {

namespace {

constexpr const char* methods_weighed[] = {
    "q4_0", "q4_1", "q5_0", "q5_1", "int4:search", "int4:group=32:asym:search",
    "nvfp4-four-or-six"};
constexpr dtype dtypes[] = {dtype::f32, dtype::f16, dtype::bf16};

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

std::vector<float> round_trip(const recipe& with, const matrix& in) {
  const auto made = encoded(with, in, path::simd);
  std::vector<float> back(in.values());
  REQUIRE(with.row->decode_simd(with, in.rows, in.cols, numbers_of(with, in), made.pointers(),
                                back.data())
          == status{});
  return back;
}

/// Σ channel (x' - x)².
double weighed_error(const recipe& with, const matrix& in, std::span<const float> channels) {
  const auto back = round_trip(with, in);
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

TEST_CASE("channels change the bytes of those methods that say they look at them, and no others",
          "[weighed]") {
  constexpr std::size_t rows = 64, cols = 512;
  const auto weights = uneven(cols);
  const auto values = values_of(data_sets().front(), rows * cols, dtype::bf16, 21);
  const auto source = make_tensor(values, dtype::bf16, rows, cols);
  for (const auto& row : methods())
    for (const auto& text : spellings(row)) {
      INFO(text);
      auto with = recipe_of(text, dtype::bf16);
      const auto plain = encoded(with, source.view(), path::simd);
      with.channels = weights;
      const bool same = encoded(with, source.view(), path::simd) == plain;
      REQUIRE(weighs_channels(with) != same);
    }
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

TEST_CASE("int4's search errs no more than no search, and than its header says",
          "[weighed][property]") {
  constexpr std::size_t group = 32;
  for (const auto type : dtypes)
    for (const bool asym : {false, true})
      for (const bool weighs : {false, true}) {
        const std::string name = asym ? "int4:group=32:asym" : "int4:group=32";
        INFO(name << " from " << name_of(type) << (weighs ? ", weighed" : ""));
        auto with = recipe_of(name + ":search", type);
        const auto plain = recipe_of(name, type);
        const bool held = rc::check([&] {
          std::mt19937 random(*rc::gen::arbitrary<std::uint32_t>());
          const int steepness = *rc::gen::inRange(0, 12);
          std::vector<float> values, weights(group, 1.0f);
          for (std::size_t i = 0; i < group; ++i) // from alike to one far above the others
            values.push_back(std::ldexp(normal(random), -static_cast<int>(i) * steepness / 12));
          if (weighs)
            for (auto& w : weights)
              w = random() % 4 == 0 ? 0.0f : std::exp(3 * normal(random));
          with.channels = weighs ? std::span<const float>(weights) : std::span<const float>();
          const auto source = make_tensor(values, type, 1, group);
          double power = 0, amax = 0;
          for (std::size_t i = 0; i < group; ++i) {
            const double x = value_of(source.view(), i);
            power += weights[i] * x * x;
            amax = std::max(amax, std::fabs(x));
          }
          const double searched = weighed_error(with, source.view(), weights);
          RC_ASSERT(searched <= weighed_error(plain, source.view(), weights) + 0x1p-14 * power);
          const auto back = round_trip(with, source.view());
          for (std::size_t i = 0; i < group; ++i)
            RC_ASSERT(std::fabs(double{value_of(source.view(), i)} - double{back[i]})
                      <= int4_search_bound(amax, weighs, type));
        });
        REQUIRE(held);
      }
}

TEST_CASE("int4's search comes near the bounds of its header", "[weighed][int4]") {
  auto with = recipe_of("int4:search", dtype::f32);
  const auto error_of_largest = [&](const std::vector<float>& values) {
    const auto source = make_tensor(values, dtype::f32, 1, 128);
    return 1 - round_trip(with, source.view())[0];
  };
  // Smaller values in numbers pull the scale off the largest, 1.
  std::vector<float> values(128, 0.0502f);
  std::fill_n(values.begin() + 1, 31, 0.1992f);
  values[0] = 1;
  CHECK(error_of_largest(values) > 0.49f);
  // The largest weighs nothing, and the others have level 1 for the narrowest of factors alone.
  const float half_a_level = 0.5001f * 19 / 32 / 7.5f;
  std::fill(values.begin() + 1, values.end(), half_a_level);
  std::vector<float> weights(128, 1.0f);
  weights[0] = 0;
  with.channels = weights;
  CHECK(error_of_largest(values) > 0.72f);
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
