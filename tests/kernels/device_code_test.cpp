// The code that runs on a device, run here by loops over its blocks, teams and lanes: the same
// bytes as the reference for every method. What is left for hardware is the launch and the shuffle.

#include "kernels/metrics.hpp"
#include "tests/kernels/data.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/kernels/looped_device.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/sanitized.hpp"

#include <cstring>
#include <limits>
#include <span>

namespace viva::kernels::testing {

namespace {

constexpr dtype all_dtypes[] = {dtype::f32, dtype::bf16, dtype::f16};
constexpr std::span<const dtype> dtypes{all_dtypes, tests::sized(3, 2)};

const device_method<looped_device>& device_method_of(const recipe& with) {
  const auto* found = find_device_method<looped_device>(with.row->name);
  REQUIRE(found != nullptr);
  return *found;
}

status encode_looped(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                     std::span<std::byte* const> out) {
  looped_device device;
  const auto done = device_method_of(with).encode(device, with, in, numbers, out);
  return done ? device.finish() : done;
}

status decode_looped(const recipe& with, std::size_t rows, std::size_t cols,
                     const tensor_numbers& numbers, std::span<const std::byte* const> in,
                     float* out) {
  looped_device device;
  const auto done = device_method_of(with).decode(device, with, rows, cols, numbers, in, out);
  return done ? device.finish() : done;
}

void require_reference(const recipe& with, const tensor& source) {
  const auto numbers = numbers_of(with, source.view());
  planes wanted(with, source.rows, source.cols), made(with, source.rows, source.cols);
  REQUIRE(with.row->encode_reference(with, source.view(), numbers, wanted.pointers()) == status{});
  REQUIRE(encode_looped(with, source.view(), numbers, made.pointers()) == status{});
  for (std::size_t p = 0; p < wanted.each.size(); ++p) {
    INFO("plane " << p);
    REQUIRE(made.each[p] == wanted.each[p]);
  }
  std::vector<float> values(source.rows * source.cols), decoded(values.size());
  const auto from = std::as_const(wanted).pointers();
  REQUIRE(with.row->decode_reference(with, source.rows, source.cols, numbers, from, values.data())
          == status{});
  REQUIRE(decode_looped(with, source.rows, source.cols, numbers, from, decoded.data()) == status{});
  REQUIRE((values.empty() || std::memcmp(values.data(), decoded.data(), 4 * values.size()) == 0));
}

void compare(const recipe& with, const data_set& set, std::size_t rows, std::size_t cols) {
  INFO(with.name() << ", " << set.name << ", " << name_of(with.source) << ", " << rows << " x "
                   << cols << (with.channels.empty() ? "" : ", channels"));
  require_reference(
      with, make_tensor(values_of(set, rows * cols, with.source, 99), with.source, rows, cols));
}

/// Of a few magnitudes, some zero.
std::vector<float> channels_for(std::size_t cols) {
  std::vector<float> channels(cols);
  for (std::size_t i = 0; i < cols; ++i)
    channels[i] = i % 5 == 3 ? 0.0f : static_cast<float>(1 + i * 37 % 11) / 4;
  return channels;
}

} // namespace

TEST_CASE("device code has the reference's bytes and values, on data that breaks encoders",
          "[device][method]") {
  for (const auto& row : methods())
    for (const auto& text : spellings(row))
      for (const auto type : dtypes)
        for (const auto& set : data_sets())
          compare(recipe_of(text, type), set, 3, cols_of(row, 768));
}

TEST_CASE("device code has the reference's bytes and values at every length", "[device][method]") {
  for (const auto& row : methods())
    for (const auto type : dtypes) {
      const auto with = recipe_of(row.name, type);
      const auto step = static_cast<std::size_t>(with.cols_multiple());
      for (std::size_t cols = 0; cols <= 300; cols += step * tests::sized(1, 7))
        for (const std::size_t rows : {0u, 1u, 5u, 66u})
          if (rows < 60 || cols % 100 < step)
            compare(with, data_sets().front(), rows, cols);
    }
}

TEST_CASE("device code has the reference's bytes and values in long rows and many blocks",
          "[device][method]") {
  for (const auto& row : methods())
    for (const auto& text : spellings(row)) {
      compare(recipe_of(text, dtype::f32), data_sets().front(), 2, cols_of(row, 5120));
      compare(recipe_of(text, dtype::bf16), data_sets().front(), 131, cols_of(row, 132));
      compare(recipe_of(text, dtype::bf16), data_sets().front(), 1, cols_of(row, 33 * 1024));
    }
}

TEST_CASE("device code weighs columns as the reference does", "[device][method]") {
  for (const auto& row : methods())
    for (const auto& text : spellings(row))
      for (const auto& set : data_sets()) {
        const auto cols = cols_of(row, 256);
        const auto channels = channels_for(cols);
        auto with = recipe_of(text, dtype::f32);
        with.channels = channels;
        compare(with, set, 9, cols);
      }
}

TEST_CASE("device code finds NaN and infinity wherever they stand, and says the first",
          "[device][edge]") {
  constexpr std::size_t rows = 3;
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const auto& row : methods())
    for (const auto type : dtypes) {
      const std::size_t cols = cols_of(row, 69);
      const auto with = recipe_of(row.name, type);
      const auto clean = values_of(data_sets().front(), rows * cols, type, 5);
      const auto numbers = numbers_of(with, make_tensor(clean, type, rows, cols).view());
      for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -infinity})
        for (std::size_t at = 0; at < rows * cols; at += (at % cols < 40 ? 1 : 13)) {
          auto values = clean;
          values[at] = bad;
          if (at + 2 < values.size())
            values[at + 2] = bad; // a second one, which must not be the one reported
          const auto source = make_tensor(values, type, rows, cols);
          planes out(with, rows, cols);
          INFO(row.name << ", " << name_of(type) << ", " << bad << " at " << at);
          REQUIRE(encode_looped(with, source.view(), numbers, out.pointers())
                  == status{errc::not_finite, at});
        }
    }
}

TEST_CASE("device code refuses the damaged bytes that the reference refuses", "[device][edge]") {
  std::mt19937 random(7);
  for (const auto& row : methods())
    for (const auto type : dtypes) {
      const auto with = recipe_of(row.name, type);
      const std::size_t cols = cols_of(row, 320), rows = 9;
      const auto source =
          make_tensor(values_of(data_sets().front(), rows * cols, type, 3), type, rows, cols);
      const auto numbers = numbers_of(with, source.view());
      planes whole(with, rows, cols);
      REQUIRE(row.encode_reference(with, source.view(), numbers, whole.pointers()) == status{});
      int refused = 0;
      for (int trial = 0; trial < 60; ++trial) {
        auto damaged = whole;
        auto& plane = damaged.each[random() % damaged.each.size()];
        for (int i = 0; i < 3; ++i)
          plane[random() % plane.size()] = static_cast<std::byte>(trial % 2 == 0 ? 0xFF : random());
        std::vector<float> wanted(rows * cols), made(rows * cols);
        const auto from = std::as_const(damaged).pointers();
        const auto answer = row.decode_reference(with, rows, cols, numbers, from, wanted.data());
        INFO(row.name << ", " << name_of(type) << ", trial " << trial);
        REQUIRE(decode_looped(with, rows, cols, numbers, from, made.data()) == answer);
        if (answer)
          REQUIRE(std::memcmp(wanted.data(), made.data(), 4 * wanted.size()) == 0);
        refused += answer ? 0 : 1;
      }
      if (row.name == "fp8" || row.name == "sparse24" || row.name == "mxfp4-ggml")
        REQUIRE(refused > 0); // or nothing was damaged
    }
}

TEST_CASE("device code measures the host's sums, bit for bit", "[device][metrics]") {
  for (const auto& set : data_sets())
    for (const auto type : dtypes)
      for (const std::size_t cols : {1u, 15u, 512u, 700u, 1024u, 4099u}) {
        const std::size_t rows = 8192 / cols + 1;
        const auto values = values_of(set, rows * cols, type, 3);
        const auto source = make_tensor(values, type, rows, cols);
        std::mt19937 random(11);
        std::vector<float> decoded(values.size());
        for (std::size_t i = 0; i < decoded.size(); ++i)
          decoded[i] = i % 1009 == 500   ? values[i] + 3.0f
                       : i % 1511 == 700 ? std::numeric_limits<float>::quiet_NaN()
                                         : values[i] * (1 + 0.01f * normal(random));
        error_sums wanted, made;
        measure_reference(source.view(), decoded.data(), wanted);
        looped_device device;
        device_sums sums;
        REQUIRE(measure_on(device, source.view(), decoded.data(), &sums) == status{});
        add_sums(sums, made);
        INFO(set.name << ", " << name_of(type) << ", " << rows << " x " << cols);
        REQUIRE(made.encode() == wanted.encode());
      }
}

TEST_CASE("device code surveys what the host surveys", "[device][metrics]") {
  for (const auto& row : methods())
    if (row.survey_run != nullptr)
      for (const auto& set : data_sets())
        for (const auto type : dtypes) {
          const auto with = recipe_of(row.name, type);
          const std::size_t cols = cols_of(row, 4099), rows = 9;
          const auto source = make_tensor(values_of(set, rows * cols, type, 3), type, rows, cols);
          survey wanted, made;
          REQUIRE(row.survey_run(with, source.view(), wanted) == status{});
          looped_device device;
          device_survey found;
          REQUIRE(survey_on(device, with, source.view(), &found) == status{});
          add_survey(with, source.view().values(), found, made);
          INFO(row.name << ", " << set.name << ", " << name_of(type));
          REQUIRE(made.max == wanted.max);
          REQUIRE(made.count == wanted.count);
          REQUIRE(made.sum == wanted.sum);
        }
}

} // namespace viva::kernels::testing
