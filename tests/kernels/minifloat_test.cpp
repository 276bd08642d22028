// The 8- and 4-bit floats: every code, every midpoint, and the vectors through the methods that use
// them.

#include "kernels/fp8.hpp"
#include "kernels/ggml_fp4.hpp"
#include "kernels/minifloat.hpp"
#include "tests/kernels/bounds.hpp"
#include "tests/kernels/data.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/kernels/targets.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace viva::kernels::testing {

namespace {

/// The value of a float of `mantissa_bits` and `bias`, no code of it special, in f64.
double value_by_definition(int code, int mantissa_bits, int bias) {
  const int exponent = code >> mantissa_bits;
  const double mantissa = code & ((1 << mantissa_bits) - 1);
  return exponent == 0
             ? std::ldexp(mantissa, 1 - bias - mantissa_bits)
             : std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
}

/// The nearest of codes 0 … top by distance in f64, ties to the even code.
template <class Value>
int nearest_code(double x, int top, Value value) {
  int best = 0;
  for (int code = 1; code <= top; ++code) {
    const double better = std::fabs(x - value(best)) - std::fabs(x - value(code));
    if (better > 0 || (better == 0 && code % 2 == 0))
      best = code;
  }
  return best;
}

double e4m3_value(int code) {
  return value_by_definition(code, 3, 7);
}
double e2m1_value(int code) {
  return value_by_definition(code, 1, 1);
}

} // namespace

TEST_CASE("e4m3: each of the 256 codes has its value and comes back", "[convert][e4m3]") {
  for (int code = 0; code < 256; ++code) {
    const auto byte = static_cast<std::uint8_t>(code);
    const float x = f32_from_e4m3(byte);
    CAPTURE(code);
    REQUIRE(std::signbit(x) == (code >= 128));
    if ((code & 0x7F) == 0x7F)
      REQUIRE(std::isnan(x));
    else
      REQUIRE(std::fabs(static_cast<double>(x)) == e4m3_value(code & 0x7F));
    REQUIRE(e4m3_from_f32(x) == byte);
  }
  REQUIRE(f32_from_e4m3(0x7E) == e4m3_max);
}

TEST_CASE("e8m0: each of the 256 codes has its value and comes back", "[convert][e8m0]") {
  for (int code = 0; code < 255; ++code) {
    const float x = f32_from_e8m0(static_cast<std::uint8_t>(code));
    REQUIRE(static_cast<double>(x) == std::ldexp(1.0, code - 127));
    REQUIRE(e8m0_from_f32(x) == code);
  }
  REQUIRE(bits_of(f32_from_e8m0(0)) == 0x00400000u);
  REQUIRE(std::isnan(f32_from_e8m0(255)));
  REQUIRE(e8m0_from_f32(f32_from_e8m0(255)) == 255);
}

TEST_CASE("every f16 and bf16 becomes the nearest e4m3 and e2m1, and the e8m0 at or below it",
          "[convert][e4m3][e2m1][e8m0]") {
  std::array<double, 0x7F> e4m3{};
  for (int code = 0; code < 0x7F; ++code)
    e4m3[static_cast<std::size_t>(code)] = e4m3_value(code);
  const auto level = [&](int code) { return e4m3[static_cast<std::size_t>(code)]; };
  for (const bool is_f16 : {true, false})
    for (std::uint32_t code = 0; code < 0x10000; ++code) {
      const auto half = static_cast<std::uint16_t>(code);
      const float x = is_f16 ? f32_from_f16(half) : f32_from_bf16(half);
      const int sign = code >= 0x8000 ? 1 : 0;
      const double a = std::fabs(static_cast<double>(x));
      if (std::isnan(x)) {
        if (e4m3_from_f32(x) != (0x7F | sign << 7) || e8m0_from_f32(x) != 255)
          FAIL("NaN " << code);
        continue;
      }
      const double held = std::min(a, 448.0); // infinity is nearer to nothing
      if (e4m3_from_f32(x) != (nearest_code(held, 0x7E, level) | sign << 7)
          || e2m1_from_f32(x) != (nearest_code(held, 7, e2m1_value) | sign << 3))
        FAIL("e4m3 or e2m1 of " << x);
      const int exponent = e8m0_from_f32(x);
      const double at_most = exponent == 0 ? 0 : std::ldexp(1.0, exponent - 127);
      const double below = std::isinf(x) ? HUGE_VAL : std::ldexp(1.0, exponent - 126);
      if (a < at_most || (a >= below && exponent != 255))
        FAIL("e8m0 of " << x);
    }
}

TEST_CASE("e2m1: each of the 16 codes has its value and comes back", "[convert][e2m1]") {
  for (int code = 0; code < 16; ++code) {
    const float x = f32_from_e2m1(static_cast<std::uint8_t>(code));
    REQUIRE(std::signbit(x) == (code >= 8));
    REQUIRE(std::fabs(static_cast<double>(x)) == e2m1_value(code & 7));
    REQUIRE(e2m1_from_f32(x) == code);
  }
}

TEST_CASE("e4m3 and e2m1 round to nearest, ties to even, around every midpoint", "[convert]") {
  const auto around = [](double low, double high) {
    const auto middle = static_cast<float>((low + high) / 2); // exact
    return std::array{ulps_from(middle, -1), middle, ulps_from(middle, 1)};
  };
  for (int code = 0; code < 0x7E; ++code)
    for (const float x : around(e4m3_value(code), e4m3_value(code + 1))) {
      REQUIRE(e4m3_from_f32(x) == nearest_code(x, 0x7E, e4m3_value));
      REQUIRE(e4m3_from_f32(-x) == (nearest_code(x, 0x7E, e4m3_value) | 0x80));
    }
  for (int code = 0; code < 7; ++code)
    for (const float x : around(e2m1_value(code), e2m1_value(code + 1))) {
      REQUIRE(e2m1_from_f32(x) == nearest_code(x, 7, e2m1_value));
      REQUIRE(e2m1_from_f32(-x) == (nearest_code(x, 7, e2m1_value) | 8));
    }
  for (const float x : {448.1f, 1e30f, std::numeric_limits<float>::infinity()}) {
    REQUIRE(e4m3_from_f32(x) == 0x7E);
    REQUIRE(e4m3_from_f32(-x) == 0xFE);
    REQUIRE(e2m1_from_f32(-x) == 15);
  }
  REQUIRE(e4m3_from_f32(-1e-30f) == 0x80);
  REQUIRE(e2m1_from_f32(-1e-30f) == 8);
}

TEST_CASE("ggml's fp4 goes to the smaller of two near levels, and never to -0", "[convert][ggml]") {
  for (int code = 0; code < 7; ++code)
    for (const float scale : {1.0f, 0.4375f, 1.625f}) {
      const float middle = e2m1_threshold(code) * scale;
      const auto sign = [](int of) { return of == 0 ? 0 : of | 8; };
      REQUIRE(ggml_e2m1(middle, scale) == code);
      REQUIRE(ggml_e2m1(-middle, scale) == sign(code));
      REQUIRE(ggml_e2m1(ulps_from(middle, -1), scale) == code);
      REQUIRE(ggml_e2m1(ulps_from(middle, 1), scale) == code + 1);
      REQUIRE(ggml_e2m1(ulps_from(-middle, 1), scale) == sign(code + 1));
    }
  REQUIRE(ggml_e2m1(-0.0f, 1) == 0);
  REQUIRE(ggml_e2m1(-7.0f, 0) == 0);
}

TEST_CASE("ggml's e4m3 rounds halves up and has nothing between 240 and 448", "[convert][ggml]") {
  REQUIRE(ggml_ue4m3(0) == 0);
  REQUIRE(ggml_ue4m3(0x1p-10f) == 1);
  REQUIRE(ggml_ue4m3(0x1.fp-11f) == 0);
  REQUIRE(ggml_ue4m3(std::nextafter(0x1p-6f, 0.0f)) == 7);
  REQUIRE(ggml_ue4m3(0x1p-6f) == 8);
  REQUIRE(ggml_ue4m3(1.0625f) == 0x39); // the half goes up
  REQUIRE(ggml_ue4m3(std::nextafter(1.0625f, 0.0f)) == 0x38);
  REQUIRE(ggml_ue4m3(240) == 0x77);
  REQUIRE(ggml_ue4m3(248) == 0x7E);
  REQUIRE(ggml_ue4m3(1e30f) == 0x7E);
}

TEST_CASE("ggml's logarithm is the C library's, below every power of two", "[convert][ggml]") {
  for (int exponent = -125; exponent <= 127; ++exponent)
    for (std::uint32_t ulps = 1; ulps <= 400; ++ulps) {
      const float x = float_of(static_cast<std::uint32_t>(exponent + 127) * 0x800000u - ulps);
      if (ggml_floor_log2(x) != static_cast<int>(std::floor(std::log2(x))))
        FAIL("2^" << exponent << " less " << ulps << " ulp");
    }
  REQUIRE(ggml_floor_log2(std::numeric_limits<float>::max()) == 127);
}

TEST_CASE("fp8 decodes every code on every target, and refuses NaN", "[convert][simd]") {
  const auto with = recipe_of("fp8", dtype::f32);
  std::vector<std::byte> codes(254);
  for (std::size_t i = 0; i < codes.size(); ++i)
    codes[i] = static_cast<std::byte>(i < 127 ? i : i + 1);
  float scale = 3.0f;
  const auto* scales = reinterpret_cast<const std::byte*>(&scale);
  for_each_target([&] {
    std::vector<float> out(codes.size());
    const std::array planes_of{std::as_const(codes).data(), scales};
    // The third has no multiple of 256, the last makes subnormals of all values.
    for (const float each : {3.0f, -0.7f, 0x1p121f, 0x1p-140f}) {
      scale = each;
      REQUIRE(with.row->decode_simd(with, 1, codes.size(), {}, planes_of, out.data()) == status{});
      for (std::size_t i = 0; i < codes.size(); ++i)
        REQUIRE(bits_of(out[i])
                == bits_of(f32_from_e4m3(static_cast<std::uint8_t>(codes[i])) * scale));
    }
    for (std::size_t at = 0; at < codes.size(); at += 11)
      for (const auto nan : {std::byte{0x7F}, std::byte{0xFF}}) {
        auto broken = codes;
        broken[at] = nan;
        const std::array broken_planes{std::as_const(broken).data(), scales};
        REQUIRE(with.row->decode_simd(with, 1, codes.size(), {}, broken_planes, out.data())
                == status{errc::malformed});
      }
  });
}

TEST_CASE("fp8 and mxfp4 encode every f16 of their range alike on every target",
          "[convert][simd]") {
  struct range {
    std::string_view method;
    float largest;
  };
  for (const auto& [method, largest] : {range{"fp8", e4m3_max}, range{"mxfp4", e2m1_max}}) {
    std::vector<float> values;
    for (std::uint32_t code = 0; code < 0x10000; ++code) {
      if (values.size() % 32 == 0)
        values.push_back(largest); // so that every scale is 1
      const float x = f32_from_f16(static_cast<std::uint16_t>(code));
      if (magnitude(x) <= largest)
        values.push_back(x);
    }
    values.resize(values.size() / 32 * 32);
    const auto source = make_tensor(values, dtype::f32, 1, values.size());
    const auto with = recipe_of(method, dtype::f32);
    planes wanted(with, 1, values.size());
    REQUIRE(with.row->encode_reference(with, source.view(), {}, wanted.pointers()) == status{});
    for_each_target([&] {
      planes got(with, 1, values.size());
      REQUIRE(with.row->encode_simd(with, source.view(), {}, got.pointers()) == status{});
      REQUIRE(got == wanted);
    });
  }
}

TEST_CASE("fp8's bound holds for the scale of every f16 and bf16 magnitude", "[convert][fp8]") {
  for (const auto type : {dtype::f16, dtype::bf16})
    for (std::uint32_t code = 1; code < 0x8000; ++code) {
      const auto half = static_cast<std::uint16_t>(code);
      const float amax = type == dtype::f16 ? f32_from_f16(half) : f32_from_bf16(half);
      if (!is_finite(amax) || amax > 0x1.fep126f)
        continue;
      const double scale = fp8::scale_of(amax, type);
      const double clamped = amax - e4m3_max * scale;
      // Half the widest step, where a value is large enough to reach the middle of the two codes.
      const double rounded = 432 * scale <= amax ? 16 * scale : 0;
      if (std::max(clamped, rounded) > fp8_bound(amax, type))
        FAIL("amax " << amax << " from " << name_of(type));
    }
}

TEST_CASE("fp8-block's bound is that of all rows of a block", "[fp8]") {
  // 65504 in one row makes the scale 146.25 for both: 39776 of the other, its largest, lies between
  // 256 and 288 of it and is off by more than a scale of its own row would allow.
  const auto with = recipe_of("fp8-block", dtype::f16);
  std::vector<float> values(2 * 128, 0.0f);
  values[0] = -39776;
  values[128] = 65504;
  const auto source = make_tensor(values, dtype::f16, 2, 128);
  for_each_target([&] {
    planes out(with, 2, 128);
    REQUIRE(with.row->encode_simd(with, source.view(), {}, out.pointers()) == status{});
    std::vector<float> back(values.size());
    REQUIRE(with.row->decode_simd(with, 2, 128, {}, std::as_const(out).pointers(), back.data())
            == status{});
    double worst = 0;
    for (std::size_t i = 0; i < values.size(); ++i)
      worst = std::max(worst, static_cast<double>(magnitude(values[i] - back[i])));
    REQUIRE(worst > fp8_bound(39776, dtype::f16));
    REQUIRE(worst <= fp8_bound(65504, dtype::f16));
  });
}

} // namespace viva::kernels::testing
