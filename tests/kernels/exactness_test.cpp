// The arguments that make fast paths exact, checked where they could break: at every threshold,
// every tie and, in the slow cases, at every float.

#include "kernels/int8.hpp"
#include "kernels/nf4.hpp"
#include "kernels/nf4_dq.hpp"
#include "kernels/nf4_signed.hpp"
#include "kernels/q8_0.hpp"
#include "kernels/scalar.hpp"
#include "tests/kernels/data.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/kernels/targets.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace viva::kernels::testing {

namespace {

/// A method of 16 levels, by what its header says of one value.
struct book {
  const char* method;
  std::uint8_t (*code_of)(float);
  float (*threshold)(int);
};

constexpr book books[] = {{"nf4", nf4::code_of, nf4::threshold},
                          {"nf4-signed", nf4_signed::code_of, nf4_signed::threshold}};

/// SIMD codes for values of [-1, 1], in blocks that each hold a 1 in front.
std::vector<std::uint8_t> codes_by(const book& one, const std::vector<float>& u) {
  const std::size_t blocks = (u.size() + 62) / 63;
  std::vector<float> values(64 * blocks, 0.0f);
  for (std::size_t b = 0; b < blocks; ++b) {
    values[64 * b] = 1.0f;
    for (std::size_t j = 0; j < 63 && 63 * b + j < u.size(); ++j)
      values[64 * b + 1 + j] = u[63 * b + j];
  }
  const auto with = recipe_of(one.method, dtype::f32);
  const matrix in{reinterpret_cast<const std::byte*>(values.data()), dtype::f32, 1, values.size()};
  planes out(with, 1, values.size());
  REQUIRE(with.row->encode_simd(with, in, {}, out.pointers()) == status{});
  std::vector<std::uint8_t> codes(u.size());
  for (std::size_t i = 0; i < u.size(); ++i) {
    const std::size_t at = 64 * (i / 63) + 1 + i % 63;
    const auto byte = static_cast<unsigned>(out.each[0][at / 2]);
    codes[i] = static_cast<std::uint8_t>(at % 2 == 0 ? byte >> 4 : byte & 15);
  }
  return codes;
}

void require_codes(const book& one, const std::vector<float>& u) {
  const auto codes = codes_by(one, u);
  for (std::size_t i = 0; i < u.size(); ++i)
    if (codes[i] != one.code_of(u[i]))
      FAIL(one.method << ": u = " << u[i] << " has code " << int{codes[i]});
}

} // namespace

TEST_CASE("nf4: the code changes right above each threshold, on every target", "[nf4][simd]") {
  for (const auto& one : books) {
    std::vector<float> u;
    for (int t = 0; t < 15; ++t)
      for (int ulps = -3000; ulps <= 3000; ++ulps)
        u.push_back(ulps_from(one.threshold(t), ulps));
    for_each_target([&] { require_codes(one, u); });
    REQUIRE(one.code_of(one.threshold(3)) == 3); // on a threshold, the lower code
    REQUIRE(one.code_of(std::nextafter(one.threshold(3), 1.0f)) == 4);
  }
}

TEST_CASE("nf4: the codes of a fine grid over [-1, 1] are right, on every target", "[nf4][simd]") {
  std::vector<float> u;
  for (int i = -(1 << 16); i <= 1 << 16; ++i)
    u.push_back(static_cast<float>(i) * 0x1p-16f);
  for (const auto& one : books)
    for_each_target([&] { require_codes(one, u); });
}

TEST_CASE("nf4: every float of [-1, 1] has the right code, on every target", "[nf4][slow][.]") {
  for (const auto& one : books)
    for_each_target([&] {
      constexpr std::uint32_t run = 63u << 14;
      std::vector<float> u;
      for (std::uint32_t bits = 0; bits <= 0x3F800000u; bits += run) {
        u.clear();
        for (std::uint32_t b = bits; b < std::min(bits + run, 0x3F800001u); ++b) {
          u.push_back(float_of(b));
          u.push_back(-float_of(b));
        }
        require_codes(one, u);
      }
    });
}

TEST_CASE("nf4-signed: a block's extreme comes back exactly, with the first of two equals' sign",
          "[nf4-signed]") {
  const auto with = recipe_of("nf4-signed", dtype::f32);
  std::vector<float> values(128, 0.25f);
  values[5] = -3.0f;
  values[9] = 3.0f; // as large, but later
  values[64 + 9] = 3.0f;
  values[64 + 15] = -3.0f;
  const auto source = make_tensor(values, dtype::f32, 1, values.size());
  for_each_target([&] {
    planes out(with, 1, values.size());
    REQUIRE(with.row->encode_simd(with, source.view(), {}, out.pointers()) == status{});
    REQUIRE(load_as<float>(out.each[1].data()) == -3.0f);
    REQUIRE(load_as<float>(out.each[1].data() + 4) == 3.0f);
    std::vector<float> back(values.size());
    REQUIRE(with.row->decode_simd(with, 1, values.size(), {}, std::as_const(out).pointers(),
                                  back.data())
            == status{});
    REQUIRE(back[5] == -3.0f);
    REQUIRE(back[9] == -3.0f * nf4_signed::levels[0]);
    REQUIRE(back[64 + 9] == 3.0f);
  });
}

TEST_CASE("nf4-dq: an absmax on a midpoint takes the lower index", "[nf4-dq]") {
  const auto& map = nf4_dq::dynamic_map();
  const auto with = recipe_of("nf4-dq:block=32", dtype::f32);
  std::vector<float> values(256 * 32, 0.0f);
  values[0] = 1.0f; // the nested scale, with an offset of zero
  for (std::size_t i = 0; i < 127; ++i) {
    const float middle = (map[127 + i] + map[128 + i]) * 0.5f;
    values[32 * (2 * i + 1)] = middle;
    values[32 * (2 * i + 2)] = -std::nextafter(middle, 2.0f);
  }
  const matrix in{reinterpret_cast<const std::byte*>(values.data()), dtype::f32, 1, values.size()};
  for (const auto encode : {with.row->encode_reference, with.row->encode_simd}) {
    planes out(with, 1, values.size());
    REQUIRE(encode(with, in, {}, out.pointers()) == status{});
    REQUIRE(out.each[1][0] == std::byte{255});
    for (std::size_t i = 0; i < 127; ++i) {
      REQUIRE(static_cast<std::size_t>(out.each[1][2 * i + 1]) == 127 + i);
      REQUIRE(static_cast<std::size_t>(out.each[1][2 * i + 2]) == 128 + i);
    }
  }
}

TEST_CASE("nf4-dq: SIMD finds every scale's index, around each midpoint of either sign",
          "[nf4-dq][simd]") {
  const auto& map = nf4_dq::dynamic_map();
  const auto with = recipe_of("nf4-dq:block=32", dtype::f32);
  std::vector<float> maxima;
  for (std::size_t i = 0; i < 255; ++i) {
    float absmax = 1.0f + (map[i] + map[i + 1]) * 0.5f;
    for (int k = 0; k < 3; ++k)
      absmax = std::nextafter(absmax, 0.0f);
    for (int k = 0; k < 7; ++k, absmax = std::nextafter(absmax, 3.0f)) {
      if (maxima.size() % nf4_dq::nested_blocks == 0)
        maxima.push_back(2.0f); // with an offset of 1, so u = absmax - 1
      maxima.push_back(absmax);
    }
  }
  std::vector<float> values(maxima.size() * 32, 0.0f);
  for (std::size_t b = 0; b < maxima.size(); ++b)
    values[32 * b + b % 32] = maxima[b];
  const matrix in{reinterpret_cast<const std::byte*>(values.data()), dtype::f32, 1, values.size()};
  const tensor_numbers offset{{1.0f, 0.0f}};
  planes expected(with, 1, values.size());
  REQUIRE(with.row->encode_reference(with, in, offset, expected.pointers()) == status{});
  for_each_target([&] {
    planes out(with, 1, values.size());
    REQUIRE(with.row->encode_simd(with, in, offset, out.pointers()) == status{});
    REQUIRE(out.each == expected.each);
  });
}

TEST_CASE("nf4-dq: the offset is the exact mean of all block maxima, in any cut", "[nf4-dq]") {
  const auto with = recipe_of("nf4-dq", dtype::f32);
  const auto source =
      make_tensor(values_of(data_sets()[0], 40 * 512, dtype::f32, 4), dtype::f32, 40, 512);
  survey whole;
  REQUIRE(with.row->survey_run(with, source.view(), whole) == status{});
  REQUIRE(whole.count == 40 * 8);
  survey merged;
  for (std::size_t first = 0; first < 40; first += 7) {
    survey part;
    const auto run = source.view().slice(first, std::min<std::size_t>(7, 40 - first));
    REQUIRE(with.row->survey_run(with, run, part) == status{});
    merged.merge(part);
  }
  REQUIRE(merged.sum == whole.sum);
  REQUIRE(merged.max == whole.max);
  REQUIRE(with.row->survey_finish(with, merged) == with.row->survey_finish(with, whole));
  double mean = 0;
  for (std::size_t b = 0; b < 320; ++b) {
    double amax = 0;
    for (std::size_t i = 0; i < 64; ++i) {
      const auto x = value_of(source.view(), 64 * b + i);
      amax = std::max(amax, std::fabs(static_cast<double>(x)));
    }
    mean += amax / 320;
  }
  REQUIRE(with.row->survey_finish(with, whole).values[0] == Approx(mean).epsilon(1e-7));
}

TEST_CASE("q8_0: halves round away from zero, and what is just below them does not", "[q8_0]") {
  REQUIRE(q8_0::code_of(0.5f) == 1);
  REQUIRE(q8_0::code_of(-0.5f) == -1);
  REQUIRE(q8_0::code_of(0.49999997f) == 0);
  REQUIRE(q8_0::code_of(126.5f) == 127);
  REQUIRE(q8_0::code_of(2.5f) == 3);
}

TEST_CASE("int8: ties go to the even code, by the rounded scale", "[int8]") {
  REQUIRE(int8::code_of(0.5f, 1.0f) == 0);
  REQUIRE(int8::code_of(1.5f, 1.0f) == 2);
  REQUIRE(int8::code_of(-2.5f, 1.0f) == -2);
  REQUIRE(int8::code_of(127.5f, 1.0f) == 127); // 128 is cut
  REQUIRE(int8::code_of(-127.5f, 1.0f) == -128);
  REQUIRE(int8::code_of(-1000.0f, 1.0f) == -128);
  REQUIRE(int8::scale_of(0.0f, dtype::f32) == 0x1p-23f);
  REQUIRE(int8::scale_of(0.0f, dtype::bf16) == 0.0078125f);
  REQUIRE(int8::scale_of(0.0f, dtype::f16) == 0.0009765625f);
  REQUIRE(int8::scale_of(1e-45f, dtype::f32) == 0x1p-23f);
}

TEST_CASE("int8: a scale so small that its reciprocal overflows still divides", "[int8][edge]") {
  const auto with = recipe_of("int8", dtype::f32);
  std::vector<float> values(64);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(static_cast<int>(i) - 32) * 0x1p-140f;
  const auto source = make_tensor(values, dtype::f32, 1, 64);
  planes out(with, 1, 64);
  REQUIRE(with.row->encode_simd(with, source.view(), {}, out.pointers()) == status{});
  // 2^-140 is 512 of the smallest f32; the scale is 32 512 / 127.5 of them, rounded to 129.
  for (int i = 0; i < 64; ++i)
    REQUIRE(static_cast<std::int8_t>(out.each[0][static_cast<std::size_t>(i)])
            == static_cast<int>(std::nearbyint((i - 32) * 512 / 129.0)));
}

TEST_CASE("GGUF blocks: scales that f16 or f32 cannot take are defined", "[ggml][edge]") {
  for (const std::string_view name : {"q8_0", "q4_0"})
    for (const float x : {1e38f, 1e-38f}) {
      const auto with = recipe_of(name, dtype::f32);
      const auto source = make_tensor(std::vector<float>(32, x), dtype::f32, 1, 32);
      planes out(with, 1, 32);
      INFO(name << " " << x);
      REQUIRE(with.row->encode_simd(with, source.view(), {}, out.pointers()) == status{});
      const auto d = load_as<std::uint16_t>(out.each[0].data());
      const auto code = out.each[0][2];
      if (x > 1)
        REQUIRE((d & 0x7FFF) == 0x7BFF); // 65504
      else
        REQUIRE(code == (name == "q8_0" ? std::byte{0} : std::byte{0x88}));
    }
}

TEST_CASE("GGUF blocks with a minimum: spans and minima that f16 or f32 cannot take are defined",
          "[ggml][edge]") {
  struct expectation {
    float low, high;
    std::uint16_t d, m;
  };
  for (const std::string_view name : {"q4_1", "q5_1"})
    for (const auto& [low, high, d, m] : {
             expectation{1e38f, 1e38f, 0, 0x7BFF},       // no span, m is 65504
             expectation{-3e38f, 3e38f, 0x7BFF, 0xFBFF}, // a span beyond f32
             expectation{0.0f, 1e-38f, 0, 0},            // 1 / d beyond f32
             expectation{-0.0f, 1.0f, 0, 0x8000},        // the sign of a zero is kept
             expectation{-0.0f, 0.0f, 0, 0x8000},        // and is the first one's
         }) {
      const auto with = recipe_of(name, dtype::f32);
      std::vector<float> values(64, high);
      values[0] = values[40] = low;
      const auto source = make_tensor(values, dtype::f32, 1, 64);
      for (const auto encode : {with.row->encode_reference, with.row->encode_simd}) {
        planes out(with, 1, 64);
        INFO(name << " from " << low << " to " << high);
        REQUIRE(encode(with, source.view(), {}, out.pointers()) == status{});
        const auto* block = out.each[0].data();
        if (low != 0 || high != 1.0f) {
          REQUIRE(load_as<std::uint16_t>(block) == d);
          const auto* codes = block + (name == "q4_1" ? 4 : 8);
          REQUIRE(std::all_of(codes, codes + 16, [](std::byte b) { return b == std::byte{0}; }));
        }
        REQUIRE(load_as<std::uint16_t>(block + 2) == m);
      }
    }
}

TEST_CASE("a scale that is no number makes the bytes malformed", "[method][edge]") {
  const auto refused = [](std::string_view name, std::size_t plane, std::uint32_t bits,
                          std::size_t bytes) {
    const auto with = recipe_of(name, dtype::f16);
    const auto source = make_tensor(std::vector<float>(128, 1.0f), dtype::f16, 1, 128);
    planes out(with, 1, 128);
    REQUIRE(with.row->encode_simd(with, source.view(), {}, out.pointers()) == status{});
    std::memcpy(out.each[plane].data(), &bits, bytes);
    std::vector<float> values(128);
    INFO(name);
    for (const auto decode : {with.row->decode_reference, with.row->decode_simd})
      REQUIRE(decode(with, 1, 128, {}, std::as_const(out).pointers(), values.data()).code
              == errc::malformed);
  };
  refused("int8", 1, 0x7C00, 2);
  refused("nf4", 1, 0x7FC00000, 4);
  refused("nf4-dq", 2, 0xFF800000, 4);
  refused("q8_0", 0, 0x7E00, 2);
  refused("q4_0", 0, 0xFC00, 2);
  refused("q4_1", 0, 0x7E003C00, 4); // the minimum
  refused("q5_0", 0, 0x7C00, 2);
  refused("q5_1", 0, 0xFC003C00, 4);
}

TEST_CASE("GGUF blocks refuse rows that are not whole blocks", "[ggml][edge]") {
  for (const std::string_view name : {"q8_0", "q4_0", "q4_1", "q5_0", "q5_1"}) {
    const auto with = recipe_of(name, dtype::f32);
    const auto source = make_tensor(std::vector<float>(66, 1.0f), dtype::f32, 2, 33);
    std::vector<std::byte> block(200);
    const std::vector<std::byte*> out{block.data()};
    const std::vector<const std::byte*> in{block.data()};
    std::vector<float> values(66);
    REQUIRE(with.row->encode_simd(with, source.view(), {}, out).code == errc::bad_shape);
    REQUIRE(with.row->encode_reference(with, source.view(), {}, out).code == errc::bad_shape);
    REQUIRE(with.row->decode_simd(with, 2, 33, {}, in, values.data()).code == errc::bad_shape);
    REQUIRE(with.row->decode_reference(with, 2, 33, {}, in, values.data()).code == errc::bad_shape);
  }
}

} // namespace viva::kernels::testing
