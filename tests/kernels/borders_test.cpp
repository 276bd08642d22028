// Where fp8 and nvfp4 could take the code next to the right one: beside every border, by scales of
// any bits, and by scales that are too small for the values.

#include "kernels/fp8.hpp"
#include "kernels/nvfp4.hpp"
#include "tests/kernels/data.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/kernels/targets.hpp"

namespace viva::kernels::testing {

namespace {

/// A positive float of random bits and an exponent in [low, high).
float random_float(std::mt19937& random, int low, int high) {
  const auto mantissa = static_cast<float>(1u << 23 | random() >> 9);
  return std::ldexp(mantissa, low - 23 + static_cast<int>(random() % (high - low)));
}

/// `x` or one of its six nearest neighbours, of either sign.
float beside(std::mt19937& random, float x) {
  const float near = ulps_from(x, static_cast<int>(random() % 7) - 3);
  return random() % 2 ? near : -near;
}

void require_reference_on_every_target(const recipe& with, const tensor& source,
                                       const tensor_numbers& numbers) {
  planes wanted(with, source.rows, source.cols);
  REQUIRE(with.row->encode_reference(with, source.view(), numbers, wanted.pointers()) == status{});
  for_each_target([&] {
    planes got(with, source.rows, source.cols);
    REQUIRE(with.row->encode_simd(with, source.view(), numbers, got.pointers()) == status{});
    REQUIRE(got == wanted);
  });
}

} // namespace

TEST_CASE("nvfp4: values beside every border have their quotients' codes", "[nvfp4][simd]") {
  std::mt19937 random(1);
  constexpr std::size_t blocks = 192;
  for (const std::string_view method : {"nvfp4", "nvfp4-four-or-six"})
    for (int tensor_number = 0; tensor_number < 60; ++tensor_number) {
      const float global = random_float(random, -8, 14);
      std::vector<float> values(16 * blocks);
      for (std::size_t b = 0; b < blocks; ++b) {
        const auto code = static_cast<std::uint8_t>(8 + random() % (0x7E - 8));
        const float factor = nvfp4::factor_of(code, global);
        values[16 * b] = 6 * factor;
        for (std::size_t i = 1; i < 16; ++i)
          values[16 * b + i] =
              beside(random, e2m1_threshold(static_cast<int>(random() % 7)) * factor);
      }
      INFO(method << ", " << tensor_number);
      const auto source = make_tensor(values, dtype::f32, 1, values.size());
      require_reference_on_every_target(recipe_of(method, dtype::f32), source, {{global, 0}});
    }
}

TEST_CASE("nvfp4: values far beyond a foreign scale of the tensor saturate", "[nvfp4][simd]") {
  std::mt19937 random(2);
  for (const std::string_view method : {"nvfp4", "nvfp4-four-or-six"})
    for (const float global : {1e3f, 1e6f, 1e30f, 0x1p120f, 0x1p-120f}) {
      std::vector<float> values(16 * 40);
      for (auto& x : values)
        x = normal(random) * (random() % 3 ? 1.0f : 40.0f);
      const auto source = make_tensor(values, dtype::f32, 1, values.size());
      require_reference_on_every_target(recipe_of(method, dtype::f32), source, {{global, 0}});
    }
}

TEST_CASE("nvfp4-ggml: values beside every border have ggml's codes", "[nvfp4][simd]") {
  std::mt19937 random(3);
  std::vector<float> values(64 * 600);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto code = static_cast<std::uint8_t>(i / 16 % 0x77 + 1);
    const float scale = f32_from_e4m3(code);
    values[i] = i % 16 == 0
                    ? 6 * scale
                    : beside(random, e2m1_threshold(static_cast<int>(random() % 7)) * scale);
  }
  const auto source = make_tensor(values, dtype::f32, 1, values.size());
  require_reference_on_every_target(recipe_of("nvfp4-ggml", dtype::f32), source, {});
}

TEST_CASE("fp8: values beside the middle of every two codes have their quotients' codes",
          "[fp8][simd]") {
  std::mt19937 random(4);
  constexpr std::size_t cols = 640;
  for (const std::string_view method : {"fp8", "fp8-block"}) {
    std::vector<float> values(400 * cols);
    for (std::size_t i = 0; i < values.size(); i += cols) {
      const float amax = random_float(random, -60, 30);
      const float scale = fp8::scale_of(amax, dtype::f32);
      for (std::size_t k = 0; k < cols; ++k) {
        const auto code = static_cast<std::uint8_t>(random() % 0x7E);
        const auto next = static_cast<std::uint8_t>(code + 1);
        // The middle is exact; its product with the scale is rounded, so quotients are too.
        const float middle = (f32_from_e4m3(code) + f32_from_e4m3(next)) / 2;
        values[i + k] = k == 0 ? amax : beside(random, middle * scale);
      }
    }
    const auto source = make_tensor(values, dtype::f32, 400, cols);
    require_reference_on_every_target(recipe_of(method, dtype::f32), source, {});
  }
}

TEST_CASE("fp8-tensor: values beyond its scale saturate, for scales of any size", "[fp8][simd]") {
  std::mt19937 random(5);
  std::vector<float> values(2048 + 700);
  for (auto& x : values)
    x = beside(random, random_float(random, -12, 12));
  const auto source = make_tensor(values, dtype::f32, 1, values.size());
  for (const float scale : {1e-30f, 1e-3f, 1.0f, 63.0f, 64.0f, 1e3f, 1e30f, 0x1p-140f})
    require_reference_on_every_target(recipe_of("fp8-tensor", dtype::f32), source, {{scale, 0}});
}

} // namespace viva::kernels::testing
