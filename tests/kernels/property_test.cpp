// Properties that hold for all values: errors within the bound each header states, and encoding as
// a function of nothing but its arguments. Shrunk counterexamples come from RapidCheck.

#include "kernels/metrics.hpp"
#include "kernels/nf4_dq.hpp"
#include "tests/kernels/bounds.hpp"
#include "tests/kernels/data.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/support/catch.hpp"

#include <rapidcheck.h>

namespace viva::kernels::testing {

namespace {

/// Powers of two of magnitudes: mostly those of weights, whose scales are normal numbers of every
/// type; three in ten extreme, none above 2^127: decoded, the greatest of a block may be 8/7.5 of
/// what it was (int4), and would be no number any more. At full size, for RapidCheck's small ones
/// crowd at the lower end.
rc::Gen<int> exponents_gen() {
  return rc::gen::resize(100, rc::gen::weightedOneOf<int>({{7, rc::gen::inRange(-9, 9)},
                                                           {3, rc::gen::inRange(-130, 128)}}));
}

/// Rows of values of one scale of magnitudes.
rc::Gen<std::vector<float>> values_gen(std::size_t count, dtype type) {
  return rc::gen::mapcat(exponents_gen(), [=](int exponent) {
    const auto mantissas = rc::gen::resize(100, rc::gen::inRange(-(1 << 24), 1 << 24));
    const auto one = rc::gen::map(mantissas, [=](int mantissa) {
      const float x = std::ldexp(static_cast<float>(mantissa), exponent - 24);
      const float rounded = rounded_to(x, type);
      return is_finite(rounded) ? rounded : 0.0f;
    });
    return rc::gen::container<std::vector<float>>(count, one);
  });
}

/// The same of so many values that a generator for each would take seconds.
rc::Gen<std::vector<float>> many_values_gen(std::size_t count, dtype type) {
  const auto seeds = rc::gen::resize(100, rc::gen::arbitrary<std::uint32_t>());
  return rc::gen::map(rc::gen::pair(exponents_gen(), seeds), [=](const auto& drawn) {
    std::mt19937 random(drawn.second);
    std::vector<float> values(count);
    for (auto& x : values) {
      const auto mantissa = static_cast<float>(static_cast<int>(random() >> 7) - (1 << 24));
      x = rounded_to(std::ldexp(mantissa, drawn.first - 24), type);
      x = is_finite(x) ? x : 0.0f;
    }
    return values;
  });
}

struct round_trip {
  std::vector<float> x;
  std::vector<float> decoded;
};

round_trip encode_decode(const recipe& with, const std::vector<float>& values, std::size_t rows,
                         planes& bytes) {
  const std::size_t cols = values.size() / rows;
  const auto source = make_tensor(values, with.source, rows, cols);
  const auto numbers = numbers_of(with, source.view());
  RC_ASSERT(with.row->encode_simd(with, source.view(), numbers, bytes.pointers()) == status{});
  round_trip result{values, std::vector<float>(values.size())};
  RC_ASSERT(with.row->decode_simd(with, rows, cols, numbers, std::as_const(bytes).pointers(),
                                  result.decoded.data())
            == status{});
  return result;
}

round_trip encode_decode(const recipe& with, const std::vector<float>& values, std::size_t rows) {
  planes bytes(with, rows, values.size() / rows);
  return encode_decode(with, values, rows, bytes);
}

/// Asserts that the errors of values that share a scale are within its bound, where it has one.
void assert_bound(const round_trip& trip, const std::vector<std::size_t>& block,
                  const stated_bound& bound, dtype type) {
  double amax = 0;
  for (const std::size_t i : block)
    amax = std::max(amax, std::fabs(static_cast<double>(trip.x[i])));
  if (amax >= bound.amax_max)
    return;
  for (const std::size_t i : block) {
    const double error =
        std::fabs(static_cast<double>(trip.x[i]) - static_cast<double>(trip.decoded[i]));
    RC_ASSERT(error <= bound.of(amax, type));
  }
}

/// The indices of every value, by the scale that they share.
std::vector<std::vector<std::size_t>> blocks_of(std::size_t rows, std::size_t cols,
                                                const stated_bound& bound) {
  const std::size_t width = bound.block == 0 ? cols : bound.block;
  const std::size_t values = bound.across_rows ? cols : rows * cols;
  std::vector<std::vector<std::size_t>> blocks((values + width - 1) / width);
  for (std::size_t i = 0; i < rows * cols; ++i)
    blocks[i / width % blocks.size()].push_back(i);
  return blocks;
}

/// What headers state, and the same of nf4's shortest and longest blocks.
std::map<std::string, stated_bound> bounds_of_spellings() {
  std::map<std::string, stated_bound> all(stated_bounds().begin(), stated_bounds().end());
  for (const std::string name : {"nf4", "nf4-f16", "nf4-signed"})
    for (const std::size_t size : {32, 4096}) {
      auto bound = all.at(name);
      bound.block = size;
      all[name + ":block=" + std::to_string(size)] = bound;
    }
  return all;
}

/// The largest magnitude of each 64 values.
std::vector<double> block_maxima(const std::vector<float>& x) {
  std::vector<double> amax((x.size() + 63) / 64);
  for (std::size_t i = 0; i < x.size(); ++i)
    amax[i / 64] = std::max(amax[i / 64], std::fabs(static_cast<double>(x[i])));
  return amax;
}

/// nf4's bound and the error of scales that are 8-bit differences from `offset`, of up to 256
/// blocks of 64.
void assert_nf4_dq_bound(const round_trip& trip, double offset) {
  const auto amax = block_maxima(trip.x);
  double nested = 0;
  for (const double a : amax)
    nested = std::max(nested, std::fabs(a - offset));
  if (nested < 0x1p-126)
    return; // no relative bound below f32's normal range
  for (std::size_t i = 0; i < trip.x.size(); ++i)
    RC_ASSERT(std::fabs(static_cast<double>(trip.x[i]) - static_cast<double>(trip.decoded[i]))
              <= (0.1520 * amax[i / 64] + 0.0071 * nested + 1e-6 * offset) * slack);
}

} // namespace

TEST_CASE("the values that properties are held to have normal scales, and both signs",
          "[property]") {
  for (const auto type : {dtype::f32, dtype::f16, dtype::bf16})
    for (const auto& draw : {values_gen, many_values_gen}) {
      int normal = 0, mixed = 0;
      for (int i = 0; i < 100; ++i) { // as rc::check draws them
        const auto values = draw(64, type)(rc::Random(static_cast<std::uint64_t>(i)), i).value();
        float least = 0, most = 0;
        for (const float x : values) {
          least = std::min(least, x);
          most = std::max(most, x);
        }
        const float scale = std::max(-least, most) / 127; // f16's too
        normal += scale >= 0x1p-14f && scale <= 65504;
        mixed += least < 0 && most > 0;
      }
      CHECK(normal >= 50);
      CHECK(mixed >= 65);
    }
}

TEST_CASE("every method that has no numbers of the whole tensor states a bound", "[property]") {
  for (const auto& row : methods()) {
    INFO(row.name);
    REQUIRE((row.survey_run != nullptr || stated_bounds().contains(row.name)
             || stacked_on().contains(row.name)));
  }
}

TEST_CASE("every decoded value is within the bound of its method's header", "[property]") {
  for (const auto& [name, bound] : bounds_of_spellings())
    for (const auto type : {dtype::f32, dtype::f16, dtype::bf16}) {
      INFO(name << " from " << name_of(type));
      const auto with = recipe_of(name, type);
      const bool held = rc::check([&, &limit = bound] {
        // Of the longest blocks one that crosses rows, and one that is cut short.
        const bool many = limit.block > 256;
        const std::size_t cols = many ? limit.block / 2 + 301 : cols_of(*with.row, 256);
        const auto values = *(many ? many_values_gen : values_gen)(2 * cols, type);
        const auto trip = encode_decode(with, values, 2);
        for (const auto& block : blocks_of(2, cols, limit))
          assert_bound(trip, block, limit, type);
      });
      REQUIRE(held);
    }
}

TEST_CASE("nf4-dq is within nf4's bound and the error of its scales", "[property]") {
  const auto with = recipe_of("nf4-dq", dtype::f32);
  const bool held = rc::check([&] {
    const auto trip = encode_decode(with, *values_gen(64 * 8, dtype::f32), 1);
    double mean = 0;
    for (const double a : block_maxima(trip.x))
      mean += a / 8;
    assert_nf4_dq_bound(trip, mean);
  });
  REQUIRE(held);
}

TEST_CASE("stacks hold what sparse24 keeps to the bound of what encodes it; the rest is zero",
          "[property][sparse24]") {
  for (const auto& [name, inner] : stacked_on())
    for (const auto type : {dtype::f32, dtype::f16, dtype::bf16}) {
      INFO(name << " from " << name_of(type));
      const auto with = recipe_of(name, type);
      const auto pruning = recipe_of("sparse24", type);
      const bool held = rc::check([&, &held_to = inner] {
        const std::size_t cols = cols_of(*with.row, 256);
        const auto trip = encode_decode(with, *values_gen(2 * cols, type), 2);
        planes pruned(pruning, 2, cols);
        encode_decode(pruning, trip.x, 2, pruned);
        round_trip kept;
        for (std::size_t i = 0; i < trip.x.size(); ++i) {
          const auto byte = static_cast<unsigned>(pruned.each[1][i / 8]); // cols divide by 8
          if ((byte >> i % 8 & 1u) == 0) {
            RC_ASSERT(bits_of(trip.decoded[i]) == 0u);
            continue;
          }
          kept.x.push_back(trip.x[i]);
          kept.decoded.push_back(trip.decoded[i]);
        }
        RC_ASSERT(kept.x.size() == cols);
        if (held_to == "nf4-dq")
          return assert_nf4_dq_bound(kept, 0);
        const auto& limit = stated_bounds().at(held_to);
        for (const auto& block : blocks_of(2, cols / 2, limit))
          assert_bound(kept, block, limit, type);
      });
      REQUIRE(held);
    }
}

TEST_CASE("methods with a scale of the tensor are within their headers' bounds", "[property]") {
  struct limit {
    std::string_view method;
    double of_block;
    double of_tensor;
  };
  const auto type = GENERATE(dtype::f32, dtype::f16, dtype::bf16);
  for (const auto& [method, of_block, of_tensor] :
       {limit{"nvfp4", 0.1771, 0x1p-17}, limit{"nvfp4-four-or-six", 0.1771, 0x1p-16},
        limit{"fp8-tensor", 0, (1 + 0x1p-8) / 28}}) {
    if (method == "fp8-tensor" && type != dtype::f32)
      continue; // whose scale is rounded: above
    INFO(method << " from " << name_of(type));
    const auto with = recipe_of(method, type);
    const bool held = rc::check([&, block_factor = of_block, tensor_factor = of_tensor] {
      auto values = *values_gen(16 * 8, type);
      for (std::size_t b = 0; b < 8; ++b) // blocks of very different magnitudes
        for (std::size_t i = 16 * b; i < 16 * (b + 1); ++i)
          values[i] = rounded_to(std::ldexp(values[i], -3 * static_cast<int>(b)), type);
      const auto trip = encode_decode(with, values, 1);
      double tensor = 0;
      for (const float x : values)
        tensor = std::max(tensor, std::fabs(static_cast<double>(x)));
      const bool relative = tensor >= 0x1p-110 && tensor < 0x1.fep127;
      for (std::size_t i = 0; i < values.size(); ++i) {
        double block = 0;
        for (std::size_t k = i / 16 * 16; k < i / 16 * 16 + 16; ++k)
          block = std::max(block, std::fabs(static_cast<double>(values[k])));
        const double bound = relative            ? block_factor * block + tensor_factor * tensor
                             : tensor < 0x1p-110 ? tensor
                                                 : HUGE_VAL;
        const double error =
            std::fabs(static_cast<double>(trip.x[i]) - static_cast<double>(trip.decoded[i]));
        RC_ASSERT(error <= bound * slack);
      }
    });
    REQUIRE(held);
  }
}

TEST_CASE("what is decoded is finite, whatever values below 2^127 were encoded", "[property]") {
  for (const auto& row : methods()) {
    INFO(row.name);
    const auto with = recipe_of(row.name, dtype::f32);
    const bool held = rc::check([&] {
      auto values = *values_gen(cols_of(row, 256), dtype::f32);
      values[*rc::gen::inRange<std::size_t>(0, values.size())] =
          *rc::gen::element(0x1p127f, -0x1p127f, 1e30f, -0.0f, 1e-45f);
      for (const float x : encode_decode(with, values, 1).decoded)
        RC_ASSERT(is_finite(x));
    });
    REQUIRE(held);
  }
}

TEST_CASE("encoding twice gives the same bytes", "[property]") {
  for (const auto& row : methods()) {
    INFO(row.name);
    const auto with = recipe_of(row.name, dtype::f16);
    const bool held = rc::check([&] {
      const std::size_t cols = cols_of(row, 128);
      const auto source = make_tensor(*values_gen(3 * cols, dtype::f16), dtype::f16, 3, cols);
      const auto numbers = numbers_of(with, source.view());
      planes first(with, 3, cols);
      planes second(with, 3, cols);
      for (auto& plane : second.each)
        std::fill(plane.begin(), plane.end(),
                  std::byte{0}); // what was there before does not matter
      RC_ASSERT(row.encode_simd(with, source.view(), numbers, first.pointers()) == status{});
      RC_ASSERT(row.encode_simd(with, source.view(), numbers, second.pointers()) == status{});
      RC_ASSERT(first == second);
    });
    REQUIRE(held);
  }
}

TEST_CASE("methods whose headers say so encode what they decoded to the same bytes, in every "
          "decade of normal scales",
          "[property]") {
  struct claim {
    std::string_view method;
    int lowest, highest; ///< Powers of ten of what scales are made from, [2048, 8192) times them.
  };
  // Scales are f32, f16 or powers of two, and decoded values f32: 2^-126 to 2^128, or 65504.
  for (const auto& [method, lowest, highest] :
       {claim{"nf4", -40, 34}, claim{"nf4:block=32", -40, 34}, claim{"nf4-f16", -7, 0},
        claim{"nf4-signed", -40, 34}, claim{"q8_0", -5, 2}, claim{"q4_0", -6, 1},
        claim{"q5_0", -6, 1}, claim{"mxfp4", -40, 34}, claim{"mxfp4-ggml", -40, 34},
        claim{"fp8", -38, 34}, claim{"fp8-tensor", -38, 34}, claim{"fp8-block", -38, 34},
        claim{"sparse24", -40, 34}, claim{"sparse24-dense", -40, 34},
        claim{"sparse24-cutlass", -40, 34}}) {
    INFO(method);
    const auto with = recipe_of(method, dtype::f32);
    const bool held = rc::check([&, low = lowest, high = highest] {
      const std::size_t cols = cols_of(*with.row, 64) * 2;
      const double unit = std::pow(10.0, *rc::gen::inRange(low, high + 1))
                          * (1 + *rc::gen::inRange(0, 1 << 20) * 0x1p-20);
      auto whole = *rc::gen::container<std::vector<int>>(2 * cols, rc::gen::inRange(-2048, 2049));
      for (std::size_t i = 0; i < whole.size(); i += 16) // so that every scale is normal
        whole[i] += whole[i] < 0 ? -2048 : 2048;
      std::vector<float> values(whole.size());
      for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<float>(whole[i] * unit);
      planes once(with, 2, cols);
      planes twice(with, 2, cols);
      const auto decoded = encode_decode(with, values, 2, once).decoded;
      encode_decode(with, decoded, 2, twice);
      RC_ASSERT(once == twice);
    });
    CHECK(held);
  }
}

} // namespace viva::kernels::testing
