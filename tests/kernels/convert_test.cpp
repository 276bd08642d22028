#include "kernels/convert.hpp"
#include "tests/kernels/data.hpp"
#include "tests/kernels/targets.hpp"

#include <cmath>
#include <cstring>
#include <numeric>

namespace viva::kernels::testing {

namespace {

std::vector<std::uint16_t> all_codes() {
  std::vector<std::uint16_t> codes(65536);
  std::iota(codes.begin(), codes.end(), std::uint16_t{0});
  return codes;
}

const std::byte* bytes_of_codes(const std::vector<std::uint16_t>& codes) {
  return reinterpret_cast<const std::byte*>(codes.data());
}

/// The value of f16 bits by its definition, in f64.
double f16_value(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const double mantissa = bits & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(mantissa + 1024, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

bool is_nan_f16(std::uint16_t bits) {
  return (bits & 0x7FFF) > 0x7C00;
}

/// Nearest of the two neighbouring codes by distance in f64, ties to the even code: the rule
/// itself, for a finite `x` whose magnitude lies between two finite codes of `value`.
template <class Value>
std::uint16_t nearest_by_search(float x, Value value, std::uint16_t top) {
  const double magnitude_of = std::fabs(static_cast<double>(x));
  std::uint16_t low = 0;
  std::uint16_t high = top;
  while (high - low > 1) {
    const auto middle = static_cast<std::uint16_t>((low + high) / 2);
    (value(middle) <= magnitude_of ? low : high) = middle;
  }
  const double below = magnitude_of - value(low);
  const double above = value(high) - magnitude_of;
  const auto code = below < above || (below == above && low % 2 == 0) ? low : high;
  return static_cast<std::uint16_t>(code | (std::signbit(x) ? 0x8000 : 0));
}

} // namespace

TEST_CASE("f16: each of the 65,536 codes has its value and comes back", "[convert][f16]") {
  for (const auto code : all_codes()) {
    const float x = f32_from_f16(code);
    CAPTURE(code);
    if (is_nan_f16(code)) {
      REQUIRE(std::isnan(x));
      REQUIRE(is_nan_f16(f16_from_f32(x)));
      continue;
    }
    if ((code & 0x7FFF) == 0x7C00)
      REQUIRE(std::isinf(x));
    else
      REQUIRE(static_cast<double>(x) == f16_value(code));
    REQUIRE(std::signbit(x) == (code >= 0x8000));
    REQUIRE(f16_from_f32(x) == code);
  }
}

TEST_CASE("bf16: each of the 65,536 codes is the upper half of its f32 and comes back",
          "[convert][bf16]") {
  for (const auto code : all_codes()) {
    const float x = f32_from_bf16(code);
    CAPTURE(code);
    REQUIRE(bits_of(x) == std::uint32_t{code} << 16);
    if (std::isnan(x))
      REQUIRE(std::isnan(f32_from_bf16(bf16_from_f32(x))));
    else
      REQUIRE(bf16_from_f32(x) == code);
  }
}

TEST_CASE("f16 rounds to nearest, ties to even, around every code and every midpoint",
          "[convert][f16]") {
  for (std::uint16_t code = 0; code < 0x7BFF; ++code) {
    const auto next = static_cast<std::uint16_t>(code + 1);
    const auto middle = static_cast<float>((f16_value(code) + f16_value(next)) / 2); // exact
    for (const float x : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)})
      for (const float signed_x : {x, -x})
        if (f16_from_f32(signed_x) != nearest_by_search(signed_x, f16_value, 0x7BFF))
          FAIL("f16 of " << signed_x);
  }
  REQUIRE(f16_from_f32(65519.996f) == 0x7BFF);
  REQUIRE(f16_from_f32(65520.0f) == 0x7C00);
  REQUIRE(f16_from_f32(-1e30f) == 0xFC00);
  REQUIRE(f16_from_f32(0x1p-25f) == 0);
  REQUIRE(f16_from_f32(std::nextafter(0x1p-25f, 1.0f)) == 1);
  REQUIRE(f16_from_f32(-5e-45f) == 0x8000);
}

TEST_CASE("bf16 rounds to nearest, ties to even, around every midpoint", "[convert][bf16]") {
  for (std::uint32_t code = 0; code < 0x7F80; ++code) // by the bits alone, the last one to infinity
    for (const std::uint32_t sign : {0u, 0x8000u}) {
      const std::uint32_t middle = (sign | code) << 16 | 0x8000u;
      const auto even = sign | (code + code % 2);
      if (bf16_from_f32(float_of(middle)) != even
          || bf16_from_f32(float_of(middle - 1)) != (sign | code)
          || bf16_from_f32(float_of(middle + 1)) != (sign | (code + 1)))
        FAIL("between bf16 " << code << " and the next, sign " << sign);
    }
  const auto value = [](std::uint16_t code) { return static_cast<double>(f32_from_bf16(code)); };
  for (std::uint16_t code = 0; code < 0x7F7F; ++code) {
    const float middle = float_of((std::uint32_t{code} << 16) + 0x8000u);
    for (const float x : {middle, std::nextafter(middle, 0.0f), float_of(bits_of(middle) + 1)})
      for (const float signed_x : {x, -x})
        if (bf16_from_f32(signed_x) != nearest_by_search(signed_x, value, 0x7F7F))
          FAIL("bf16 of " << signed_x);
  }
  REQUIRE(bf16_from_f32(0x1.fffffep127f) == 0x7F80); // rounds up to infinity
}

TEST_CASE("loads agree with the reference on every code, every target, unaligned",
          "[convert][simd]") {
  const auto codes = all_codes();
  std::vector<std::byte> shifted(2 * codes.size() + 1);
  std::memcpy(shifted.data() + 1, codes.data(), 2 * codes.size());
  for (const auto type : {dtype::f16, dtype::bf16}) {
    std::vector<float> wanted(codes.size());
    load_f32_reference(bytes_of_codes(codes), type, codes.size(), wanted.data());
    for_each_target([&] {
      std::vector<float> got(codes.size());
      load_f32(shifted.data() + 1, type, codes.size(), got.data());
      for (std::size_t i = 0; i < codes.size(); ++i)
        if (std::isnan(wanted[i]) ? !std::isnan(got[i]) : bits_of(got[i]) != bits_of(wanted[i]))
          FAIL("code " << codes[i] << " of " << name_of(type));
    });
  }
}

TEST_CASE("stores agree with the reference on hard values, every target, unaligned",
          "[convert][simd]") {
  std::vector<float> values;
  for (const auto& set : data_sets())
    for (const float x : values_of(set, 1000, dtype::f32, 11))
      values.push_back(x);
  for (std::uint16_t code = 0; code < 0x7C00; ++code) { // f16's midpoints and their neighbours
    const auto next = static_cast<std::uint16_t>(code + 1);
    const float middle = (f32_from_f16(code) + f32_from_f16(next)) / 2;
    values.insert(values.end(), {middle, ulps_from(middle, 1), ulps_from(middle, -1)});
  }
  for (std::uint32_t code = 0; code < 0x7F80; ++code) // bf16's, of both signs
    for (const std::uint32_t sign : {0u, 0x80000000u})
      for (const std::uint32_t low : {0x7FFFu, 0x8000u, 0x8001u})
        values.push_back(float_of(sign | code << 16 | low));
  values.insert(values.end(), {std::numeric_limits<float>::quiet_NaN(),
                               -std::numeric_limits<float>::infinity(), 65520.0f, 65519.996f});
  for (const auto type : {dtype::f32, dtype::f16, dtype::bf16}) {
    std::vector<std::byte> wanted(values.size() * bytes_of(type));
    store_f32_reference(values.data(), type, values.size(), wanted.data());
    for_each_target([&] {
      std::vector<std::byte> got(wanted.size() + 1);
      store_f32(values.data(), type, values.size(), got.data() + 1);
      INFO(name_of(type));
      REQUIRE(std::memcmp(got.data() + 1, wanted.data(), wanted.size()) == 0);
    });
  }
}

TEST_CASE("the first value that is not finite is found at every position, on every target",
          "[convert][simd]") {
  constexpr std::size_t count = 300;
  for (const auto type : {dtype::f32, dtype::f16, dtype::bf16})
    for_each_target([&] {
      std::vector<float> values(count, 65504.0f);
      std::vector<std::byte> bytes(count * bytes_of(type) + 1);
      for (std::size_t at = count + 1; at-- > 0;) {
        if (at < count)
          values[at] = at % 3 == 0   ? std::numeric_limits<float>::infinity()
                       : at % 3 == 1 ? -std::numeric_limits<float>::infinity()
                                     : std::numeric_limits<float>::quiet_NaN();
        store_f32_reference(values.data(), type, count, bytes.data() + 1);
        REQUIRE(first_not_finite(bytes.data() + 1, type, count) == at);
        REQUIRE(first_not_finite_reference(bytes.data() + 1, type, count) == at);
        REQUIRE(first_not_finite(bytes.data() + 1, type, at) == at); // none before it
      }
    });
}

TEST_CASE("the search for what is not finite crosses its own runs", "[convert][simd]") {
  constexpr std::size_t count = 20000;
  std::vector<float> values(count, 1.0f);
  for (const std::size_t at : {std::size_t{4095}, std::size_t{4096}, std::size_t{19999}}) {
    values.assign(count, 1.0f);
    values[at] = std::numeric_limits<float>::infinity();
    const auto* bytes = reinterpret_cast<const std::byte*>(values.data());
    REQUIRE(first_not_finite(bytes, dtype::f32, count) == at);
  }
}

} // namespace viva::kernels::testing
