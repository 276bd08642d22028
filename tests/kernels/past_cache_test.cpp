// Outputs so large that they are stored past the cache hold the bytes of small runs, which are not.

#include "kernels/past_cache.hpp"
#include "tests/kernels/data.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/kernels/targets.hpp"
#include "tests/support/sanitized.hpp"

#include <cstring>
#include <numeric>

namespace viva::kernels::testing {

namespace {

constexpr std::size_t cols = 4096;

/// Bytes whose first is aligned as stores past the cache ask for.
struct aligned_bytes {
  std::vector<std::byte> all;
  std::byte* first;

  explicit aligned_bytes(std::size_t bytes)
      : all(bytes + 64),
        first(all.data() + (64 - reinterpret_cast<std::uintptr_t>(all.data()) % 64) % 64) {}
};

/// The planes of a large tensor, each at an aligned address.
struct large_planes {
  geometry shape;
  std::vector<aligned_bytes> each;

  large_planes(const recipe& with, std::size_t rows) : shape(with.row->shape(with, cols)) {
    for (const auto& plane : shape.all())
      each.emplace_back(static_cast<std::size_t>(plane.bytes(0, rows, cols)));
  }
  std::vector<std::byte*> from_row(std::size_t row) const {
    std::vector<std::byte*> at;
    for (std::size_t p = 0; p < each.size(); ++p)
      at.push_back(each[p].first + shape.planes[p].offset(row, cols));
    return at;
  }
};

/// Rows whose largest plane, and one row more, is stored past the cache.
std::size_t rows_past_cache(const recipe& with) {
  const auto shape = with.row->shape(with, cols);
  std::uint64_t bytes = 0;
  for (const auto& plane : shape.all())
    bytes = std::max(bytes, plane.bytes(0, 64 * shape.rows_grain, cols));
  const std::size_t runs = 64 * past_cache_bytes / bytes + 1;
  return runs * shape.rows_grain + 1;
}

void compare_with_runs(const recipe& with, const matrix& in) {
  const auto& row = *with.row;
  const auto numbers = numbers_of(with, in);
  const large_planes whole(with, in.rows), parts(with, in.rows);
  REQUIRE(row.encode_simd(with, in, numbers, whole.from_row(0)) == status{});
  aligned_bytes decoded(in.values() * 4);
  auto* values = reinterpret_cast<float*>(decoded.first);
  const auto planes_of = [&](std::size_t first) {
    const auto at = whole.from_row(first);
    return std::vector<const std::byte*>(at.begin(), at.end());
  };
  REQUIRE(row.decode_simd(with, in.rows, cols, numbers, planes_of(0), values) == status{});
  const auto grain = static_cast<std::size_t>(whole.shape.rows_grain);
  const std::size_t step = std::lcm<std::size_t>(grain, 16);
  std::vector<float> run(step * cols + 1);
  for (std::size_t first = 0; first < in.rows; first += step) {
    const auto count = std::min(step, in.rows - first);
    REQUIRE(row.encode_simd(with, in.slice(first, count), numbers, parts.from_row(first))
            == status{});
    float* unaligned = run.data() + 1;
    REQUIRE(row.decode_simd(with, count, cols, numbers, planes_of(first), unaligned) == status{});
    REQUIRE(std::memcmp(unaligned, values + first * cols, count * cols * 4) == 0);
  }
  for (std::size_t p = 0; p < whole.each.size(); ++p) {
    INFO("plane " << whole.shape.planes[p].name);
    REQUIRE(whole.each[p].all.size() == parts.each[p].all.size());
    REQUIRE(std::memcmp(whole.each[p].first, parts.each[p].first, whole.each[p].all.size() - 64)
            == 0);
  }
}

/// All, or where every access is checked and each costs ten seconds, one for each way of storing.
std::vector<std::string_view> methods_stored() {
  if (tests::sanitized)
    return {"int4", "mxfp4", "nf4", "q8_0"};
  std::vector<std::string_view> names;
  for (const auto& row : methods())
    names.push_back(row.name);
  return names;
}

} // namespace

TEST_CASE("outputs stored past the cache are those of small runs", "[method][simd]") {
  // Values repeat, so that making them takes no longer than encoding them.
  const auto some = values_of(data_sets().front(), std::size_t{1} << 16, dtype::f32, 9);
  for (const auto name : methods_stored()) {
    const auto with = recipe_of(name, dtype::f32);
    const std::size_t rows = rows_past_cache(with);
    std::vector<float> values(rows * cols);
    for (std::size_t i = 0; i < values.size(); i += 4099) // no period of any block
      std::copy_n(some.data() + i % 50000, std::min<std::size_t>(4099, values.size() - i),
                  values.data() + i);
    const matrix in{reinterpret_cast<const std::byte*>(values.data()), dtype::f32, rows, cols};
    INFO(name << ", " << rows << " rows, " << simd_target());
    compare_with_runs(with, in);
  }
}

} // namespace viva::kernels::testing
