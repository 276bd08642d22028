// What is particular to the integer methods: ties, zero points, the search, one scale for a tensor.

#include "kernels/int4.hpp"
#include "kernels/int8.hpp"
#include "kernels/llm_int8.hpp"
#include "kernels/metrics.hpp"
#include "kernels/scalar.hpp"
#include "tests/kernels/bounds.hpp"
#include "tests/kernels/data.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/kernels/targets.hpp"

#include <rapidcheck.h>

namespace viva::kernels::testing {

namespace {

planes encode(const recipe& with, const tensor& source, path which = path::simd) {
  planes out(with, source.rows, source.cols);
  const auto encoder =
      which == path::reference ? with.row->encode_reference : with.row->encode_simd;
  REQUIRE(encoder(with, source.view(), numbers_of(with, source.view()), out.pointers())
          == status{});
  return out;
}

std::vector<float> decode(const recipe& with, const tensor& source, const planes& from) {
  std::vector<float> values(source.rows * source.cols);
  REQUIRE(with.row->decode_simd(with, source.rows, source.cols, {}, from.pointers(), values.data())
          == status{});
  return values;
}

double squared_error(const recipe& with, const tensor& source) {
  const auto decoded = decode(with, source, encode(with, source));
  double sum = 0;
  for (std::size_t i = 0; i < decoded.size(); ++i) {
    const double error = static_cast<double>(value_of(source.view(), i)) - decoded[i];
    sum += error * error;
  }
  return sum;
}

/// Groups from `low` to `high`, else half-integers between and their neighbours.
std::vector<float> near_ties(std::size_t count, float low, float high) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    const float half = std::floor(low) + 1.5f + static_cast<float>(i % 13);
    const float near = ulps_from(half, static_cast<int>(i / 13 % 5) - 2);
    values[i] = i % 32 == 0 ? low : i % 32 == 1 ? high : near;
  }
  return values;
}

} // namespace

TEST_CASE("int4: ties go to the even code, and next to them the quotient decides, on every target",
          "[int4][simd]") {
  const auto [words, low, high] = GENERATE(table<std::string, float, float>({
      {"int4:group=32", -7.5f, 7.5f}, // scale 1
      {"int4:group=32:asym", -8.0f, 7.0f},
      {"int4:group=32:asym", -3.0f, 12.0f},
      {"int4:absmax", -7.0f, 7.0f},
  }));
  const auto with = recipe_of(words, dtype::f32);
  const auto source = make_tensor(near_ties(4 * 640, low, high), dtype::f32, 4, 640);
  const auto wanted = encode(with, source, path::reference);
  for_each_target([&, &name = words] {
    INFO(name);
    REQUIRE(encode(with, source) == wanted);
  });
  REQUIRE(int4::code_of(0.5f, {1.0f, 0}) == 0);
  REQUIRE(int4::code_of(1.5f, {1.0f, 0}) == 2);
  REQUIRE(int4::code_of(0.5f, {1.0f, 1}) == 2);
  REQUIRE(int4::code_of(-100.0f, {1.0f, 0}) == -8);
  REQUIRE(int4::code_of(100.0f, {1.0f, -8}) == 7);
}

TEST_CASE("int4: zero points lie by eight rows in a word, and rows that do not come are zero",
          "[int4]") {
  const auto with = recipe_of("int4:group=32:asym", dtype::f32);
  std::vector<float> values;
  for (std::size_t row = 0; row < 10; ++row)
    for (std::size_t col = 0; col < 64; ++col) // from -min to 15 - min
      values.push_back(static_cast<float>(col % 16) - static_cast<float>(row + col / 32));
  const auto source = make_tensor(values, dtype::f32, 10, 64);
  for (const auto which : {path::reference, path::simd}) {
    const auto out = encode(with, source, which);
    REQUIRE(out.each[2].size() == 2 * 2 * 4);
    for (std::size_t row = 0; row < 16; ++row)
      for (std::size_t group = 0; group < 2; ++group) {
        const auto word = load_as<std::uint32_t>(out.each[2].data() + 4 * (row / 8 * 2 + group));
        const auto wanted = row < 10 ? row + group : 0; // zero is -8 + row + group
        REQUIRE((word >> (4 * (row % 8)) & 15) == wanted);
      }
    REQUIRE(decode(with, source, out) == values); // every value is a level
  }
}

TEST_CASE("int4: a span beyond f32 has a scale, and a group of zeros decodes to zeros",
          "[int4][edge]") {
  const auto with = recipe_of("int4:asym", dtype::f32);
  std::vector<float> values(256, 0.0f);
  values[3] = 3e38f;
  values[9] = -3e38f;
  const auto source = make_tensor(values, dtype::f32, 2, 128);
  for (const auto which : {path::reference, path::simd}) {
    const auto out = encode(with, source, which);
    REQUIRE(load_as<float>(out.each[1].data()) == 3e38f / 7.5f);
    REQUIRE(load_as<float>(out.each[1].data() + 4) == 0x1p-23f);
    const auto decoded = decode(with, source, out);
    REQUIRE(std::all_of(decoded.begin() + 128, decoded.end(), [](float x) { return x == 0; }));
  }
}

TEST_CASE("int4: the search never errs more than the scale it begins with", "[int4][property]") {
  for (const std::string words : {"int4:group=32", "int4:group=32:asym", "int4:group=64:absmax"}) {
    INFO(words);
    const auto plain = recipe_of(words, dtype::f32);
    auto searching = plain;
    searching.flags |= int4::search;
    const bool held = rc::check([&] {
      const auto seed = *rc::gen::arbitrary<std::uint32_t>();
      const auto& set = data_sets()[*rc::gen::inRange<std::size_t>(0, 6)];
      const auto source = make_tensor(values_of(set, 256, dtype::f32, seed), dtype::f32, 2, 128);
      RC_ASSERT(squared_error(searching, source) <= squared_error(plain, source) * slack);
    });
    REQUIRE(held);
  }
}

TEST_CASE("int8-tensor: one scale for all rows, within int8's bound", "[int8]") {
  for (const auto type : {dtype::f32, dtype::f16, dtype::bf16}) {
    const auto with = recipe_of("int8-tensor", type);
    auto values = values_of(data_sets().front(), 5 * 77, type, 8);
    values[200] = -4.0f;
    const auto source = make_tensor(values, type, 5, 77);
    const auto out = encode(with, source);
    REQUIRE(value_of(out.each[1].data(), type, 0) == int8::scale_of(4.0f, type));
    const auto decoded = decode(with, source, out);
    for (std::size_t i = 0; i < decoded.size(); ++i)
      REQUIRE(std::fabs(static_cast<double>(value_of(source.view(), i)) - decoded[i])
              <= int8_bound(4.0, type));
  }
}

TEST_CASE("int8-tensor: the survey of runs is the survey of the whole", "[int8]") {
  const auto with = recipe_of("int8-tensor", dtype::bf16);
  const auto source =
      make_tensor(values_of(data_sets().front(), 9 * 65, dtype::bf16, 2), dtype::bf16, 9, 65);
  survey merged;
  for (std::size_t first = 0; first < 9; first += 4) {
    survey part;
    const auto run = source.view().slice(first, std::min<std::size_t>(4, 9 - first));
    REQUIRE(with.row->survey_run(with, run, part) == status{});
    merged.merge(part);
  }
  REQUIRE(with.row->survey_finish(with, merged) == numbers_of(with, source.view()));
  REQUIRE(merged.max == magnitude_max(source.view(), 0, 9 * 65));
}

TEST_CASE("llm-int8: values are those of f16, which saturates", "[int8][edge]") {
  const auto with = recipe_of("llm-int8", dtype::f32);
  const auto source = make_tensor({1e30f, -1e30f, 0.0f, 257.9f}, dtype::f32, 1, 4);
  for (const auto which : {path::reference, path::simd}) {
    const auto out = encode(with, source, which);
    REQUIRE(load_as<float>(out.each[1].data()) == 65504.0f);
    REQUIRE(load_as<std::int8_t>(out.each[0].data()) == 127);
    REQUIRE(load_as<std::int8_t>(out.each[0].data() + 1) == -127);
    REQUIRE(load_as<std::int8_t>(out.each[0].data() + 3) == 1);
  }
  // 2049 rounds to 2048 in f16: the scale is of what bitsandbytes sees.
  const auto odd = make_tensor({2049.0f, -3.0f}, dtype::f32, 1, 2);
  REQUIRE(load_as<float>(encode(with, odd).each[1].data()) == 2048.0f);
}

TEST_CASE("groups refuse rows that are not whole groups, and scales that are no numbers",
          "[int4][int8][edge]") {
  for (const std::string_view name : {"int4", "int8-group"}) {
    const auto with = recipe_of(name, dtype::f32);
    const auto source = make_tensor(std::vector<float>(192, 1.0f), dtype::f32, 2, 96);
    std::vector<std::byte> bytes(800);
    const std::vector<std::byte*> out{bytes.data(), bytes.data() + 400};
    const std::vector<const std::byte*> in{bytes.data(), bytes.data() + 400};
    std::vector<float> values(256);
    REQUIRE(with.row->encode_simd(with, source.view(), {}, out).code == errc::bad_shape);
    REQUIRE(with.row->encode_reference(with, source.view(), {}, out).code == errc::bad_shape);
    REQUIRE(with.row->decode_simd(with, 2, 96, {}, in, values.data()).code == errc::bad_shape);
    REQUIRE(with.row->decode_reference(with, 2, 96, {}, in, values.data()).code == errc::bad_shape);
    store_as(0x7FC00000u, bytes.data() + 404); // the second group's scale
    REQUIRE(with.row->decode_simd(with, 2, 128, {}, in, values.data()).code == errc::malformed);
    REQUIRE(with.row->decode_reference(with, 2, 128, {}, in, values.data()).code
            == errc::malformed);
  }
}

} // namespace viva::kernels::testing
