// NaN of every kind and infinity, by their bits in each type of source: refused at every place of a
// block, and the first of several is the one reported.

#include "kernels/channels.hpp"
#include "kernels/metrics.hpp"
#include "kernels/scalar.hpp"
#include "tests/kernels/data.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/kernels/targets.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/sanitized.hpp"

#include <vector>

namespace viva::kernels::testing {

namespace {

constexpr dtype dtypes[] = {dtype::f32, dtype::f16, dtype::bf16};

/// Infinities, and NaN: quiet and signalling, of the least and the greatest payload, of both signs.
std::vector<std::uint32_t> not_finite_of(dtype type) {
  const auto of = [](std::uint32_t infinity, std::uint32_t quiet, std::uint32_t sign) {
    const std::uint32_t payloads = quiet - 1; // the bits below the quiet one
    return std::vector<std::uint32_t>{infinity,
                                      infinity | sign,
                                      infinity | 1u,
                                      infinity | 1u | sign,
                                      infinity | payloads,
                                      infinity | quiet,
                                      infinity | quiet | payloads,
                                      infinity | quiet | payloads | sign};
  };
  return type == dtype::f32   ? of(0x7F800000u, 0x00400000u, 0x80000000u)
         : type == dtype::f16 ? of(0x7C00u, 0x0200u, 0x8000u)
                              : of(0x7F80u, 0x0040u, 0x8000u);
}

void put_bits(tensor& source, std::size_t at, std::uint32_t bits) {
  if (source.type == dtype::f32)
    store_as(bits, source.bytes.data() + at * 4);
  else
    store_as(static_cast<std::uint16_t>(bits), source.bytes.data() + at * 2);
}

/// A source that is encoded again and again, each time with other bits at other places.
class refusals {
public:
  refusals(recipe with, std::size_t rows, std::size_t cols)
      : x_with(with),
        x_clean(make_tensor(values_of(data_sets().front(), rows * cols, with.source, 5),
                            with.source, rows, cols)),
        x_numbers(numbers_of(with, x_clean.view())), x_out(with, rows, cols) {}

  /// `bits` at `at`, and behind it others that must not be the ones reported.
  void require_refused(std::size_t at, std::uint32_t bits) {
    auto source = x_clean;
    put_bits(source, at, bits);
    for (const std::size_t behind : {at + 1, at + 16, x_clean.view().values() - 1})
      if (behind < x_clean.view().values() && behind > at)
        put_bits(source, behind, bits);
    INFO(x_with.name() << (x_with.channels.empty() ? "" : ", weighed") << ", "
                       << name_of(x_with.source) << ", bits " << std::hex << bits << std::dec
                       << " at " << at);
    const status wanted{errc::not_finite, at};
    const auto out = x_out.pointers();
    REQUIRE(x_with.row->encode_reference(x_with, source.view(), x_numbers, out) == wanted);
    REQUIRE(x_with.row->encode_simd(x_with, source.view(), x_numbers, out) == wanted);
    error_sums sums;
    REQUIRE(encode_and_measure(x_with, source.view(), x_numbers, out, &sums) == wanted);
    if (x_with.row->survey_run != nullptr) {
      survey found;
      REQUIRE(x_with.row->survey_run(x_with, source.view(), found) == wanted);
    }
  }

private:
  recipe x_with;
  tensor x_clean;
  tensor_numbers x_numbers;
  planes x_out;
};

/// Every place of the first 130 values or row, whichever is more, and some in the row behind it,
/// each with one of all bits; every of these at a few places.
void require_refused_everywhere(const recipe& with, std::size_t cols) {
  refusals each(with, 2, cols);
  const auto bits = not_finite_of(with.source);
  const std::size_t dense = std::min(2 * cols, std::max<std::size_t>(130, with.block + 1));
  for (std::size_t at = 0; at < 2 * cols; at += at < dense ? 1 : 29)
    each.require_refused(at, bits[at * 5 % bits.size()]);
  for (const auto one : bits)
    for (const std::size_t at : {std::size_t{0}, cols / 2 + 1, 2 * cols - 1})
      each.require_refused(at, one);
}

} // namespace

TEST_CASE("every method refuses NaN of every kind at every place of a block, and says the first",
          "[method][edge]") {
  for (const auto& row : methods())
    for (const auto type : dtypes)
      if (!tests::sanitized || type == dtype::bf16)
        for_each_target(
            [&] { require_refused_everywhere(recipe_of(row.name, type), cols_of(row, 128)); });
}

TEST_CASE("methods that weigh columns refuse NaN of every kind at every place of a block",
          "[method][weighed][edge]") {
  const std::vector<float> weights(256, 2.0f);
  for (const auto& row : methods())
    for (const auto& text : {std::string(row.name), std::string(row.name) + ":search"}) {
      if (text != row.name && !row.name.ends_with("int4"))
        continue;
      for (const auto type : dtypes) {
        auto with = recipe_of(text, type);
        const std::size_t cols = cols_of(row, 128);
        with.channels = std::span(weights).first(cols);
        if (weighs_channels(with) && (!tests::sanitized || type == dtype::f16))
          for_each_target([&] { require_refused_everywhere(with, cols); });
      }
    }
}

TEST_CASE("signalling NaN and NaN of every payload are not measured as numbers",
          "[metrics][edge]") {
  for (const auto type : dtypes)
    for_each_target([&] {
      const std::vector<float> decoded(96, 1.0f);
      const auto clean = make_tensor(decoded, type, 1, 96);
      for (const auto bits : not_finite_of(type))
        for (std::size_t at = 0; at < 96; at += tests::sized(1, 7)) {
          auto source = clean;
          put_bits(source, at, bits);
          INFO(name_of(type) << ", bits " << std::hex << bits << std::dec << " at " << at);
          error_sums sums, reference;
          measure_simd(source.view(), decoded.data(), sums);
          measure_reference(source.view(), decoded.data(), reference);
          REQUIRE(sums.not_finite == 1);
          REQUIRE(reference.not_finite == 1);
          REQUIRE(sums.count == 95);
        }
    });
}

} // namespace viva::kernels::testing
