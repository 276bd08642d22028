// SIMD equals the reference bit for bit: every method, every target, every length, every dtype,
// unaligned, on data that breaks encoders. The registry is walked, so a new method is here at once.

#include "kernels/metrics.hpp"
#include "tests/kernels/data.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/kernels/targets.hpp"
#include "tests/support/sanitized.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

namespace viva::kernels::testing {

namespace {

constexpr dtype all_dtypes[] = {dtype::f32, dtype::bf16, dtype::f16};
constexpr std::span<const dtype> dtypes{all_dtypes, tests::sized(3, 2)};

/// Bytes that start one past an aligned address and are followed by a guard.
struct unaligned {
  static constexpr std::size_t guard = 64;
  std::vector<std::byte> storage;
  std::size_t size;

  explicit unaligned(std::size_t bytes)
      : storage(bytes + 1 + guard, std::byte{0x5A}), size(bytes) {}
  explicit unaligned(const std::vector<std::byte>& bytes) : unaligned(bytes.size()) {
    if (size != 0)
      std::memcpy(data(), bytes.data(), size);
  }
  std::byte* data() {
    return storage.data() + 1;
  }
  /// No byte before or behind has been touched.
  bool guarded() const {
    bool whole = storage.front() == std::byte{0x5A};
    for (std::size_t i = 1 + size; i < storage.size(); ++i)
      whole = whole && storage[i] == std::byte{0x5A};
    return whole;
  }
};

std::vector<unaligned> unaligned_planes(const planes& like) {
  std::vector<unaligned> made;
  for (const auto& plane : like.each)
    made.emplace_back(plane);
  return made;
}

template <class Pointer>
std::vector<Pointer> pointers_of(std::vector<unaligned>& planes) {
  std::vector<Pointer> to;
  for (auto& plane : planes)
    to.push_back(plane.data());
  return to;
}

/// Encodes and decodes `source` by SIMD from and to unaligned memory; requires the reference's
/// bits.
void require_equal(const recipe& with, const tensor& source, const tensor_numbers& numbers,
                   const planes& encoded, const std::vector<float>& decoded) {
  unaligned bytes(source.bytes);
  const matrix in{bytes.data(), source.type, source.rows, source.cols};
  auto to = unaligned_planes(planes(with, source.rows, source.cols));
  const auto to_pointers = pointers_of<std::byte*>(to);
  REQUIRE(with.row->encode_simd(with, in, numbers, to_pointers) == status{});
  for (std::size_t p = 0; p < to.size(); ++p) {
    INFO("plane " << p);
    REQUIRE(to[p].guarded());
    REQUIRE(std::equal(to[p].data(), to[p].data() + to[p].size, encoded.each[p].begin()));
  }
  const auto from_pointers = pointers_of<const std::byte*>(to);
  std::vector<float> values(decoded.size() + 2, -7.0f);
  float* out = values.data() + 1; // no vector's alignment
  REQUIRE(with.row->decode_simd(with, source.rows, source.cols, numbers, from_pointers, out)
          == status{});
  REQUIRE((values.front() == -7.0f && values.back() == -7.0f));
  REQUIRE((decoded.empty() || std::memcmp(out, decoded.data(), 4 * decoded.size()) == 0));
}

void compare_paths(std::string_view text, const data_set& set, dtype type, std::size_t rows,
                   std::size_t cols) {
  const auto with = recipe_of(text, type);
  const auto source = make_tensor(values_of(set, rows * cols, type, 99), type, rows, cols);
  const auto numbers = numbers_of(with, source.view());
  planes encoded(with, rows, cols);
  REQUIRE(with.row->encode_reference(with, source.view(), numbers, encoded.pointers()) == status{});
  std::vector<float> decoded(rows * cols);
  REQUIRE(with.row->decode_reference(with, rows, cols, numbers, std::as_const(encoded).pointers(),
                                     decoded.data())
          == status{});
  INFO(text << ", " << set.name << ", " << name_of(type) << ", " << rows << " x " << cols);
  for_each_target([&] { require_equal(with, source, numbers, encoded, decoded); });
}

} // namespace

TEST_CASE("every method encodes and decodes alike on every target, on data that breaks encoders",
          "[method][simd]") {
  for (const auto& row : methods())
    for (const auto& text : spellings(row))
      for (const auto type : dtypes)
        for (const auto& set : data_sets())
          compare_paths(text, set, type, 3, cols_of(row, 768));
}

TEST_CASE("every method encodes and decodes alike on every target, at every length",
          "[method][simd]") {
  for (const auto& row : methods())
    for (const auto& text : spellings(row)) {
      const auto step = static_cast<std::size_t>(recipe_of(text, dtype::f32).cols_multiple());
      const std::size_t watched = text == row.name ? 7 : 35; // of options fewer
      for (const auto type : dtypes)
        for (std::size_t cols = 0; cols <= 300; cols += step * tests::sized(1, watched)) {
          compare_paths(text, data_sets().front(), type, 1, cols);
          if (cols % 7 == 0 || step > 1)
            compare_paths(text, data_sets().front(), type, 5, cols);
        }
    }
}

TEST_CASE("every method encodes and decodes alike on every target with any of its flags together",
          "[method][simd]") {
  for (const auto& row : methods())
    for (std::size_t mask = 0; mask < std::size_t{1} << row.rules.flags.size(); ++mask) {
      if (std::popcount(mask) < 2)
        continue; // spellings
      std::string text(row.name);
      for (std::size_t i = 0; i < row.rules.flags.size(); ++i)
        text.append((mask >> i & 1u) != 0 ? ":" + std::string(row.rules.flags[i].name) : "");
      for (const auto type : dtypes)
        for (std::size_t set = 0; set < data_sets().size(); set += tests::sized(1, 5))
          compare_paths(text, data_sets()[set], type, 2, cols_of(row, 384));
    }
}

TEST_CASE("every method encodes and decodes alike across its batches", "[method][simd]") {
  for (const auto& row : methods())
    for (const auto& text : spellings(row)) {
      compare_paths(text, data_sets().front(), dtype::f32, 7, 96 * 32);
      compare_paths(text, data_sets().front(), dtype::bf16, 1, 64 * 256 * 2 + 96 * 32);
    }
}

namespace {

/// Puts `bad` at every place of few columns and at some of the others, and a second one behind it.
void require_found(const recipe& with, float bad, std::size_t rows, std::size_t cols) {
  const auto type = with.source;
  const auto clean = values_of(data_sets().front(), rows * cols, type, 5);
  const auto numbers = numbers_of(with, make_tensor(clean, type, rows, cols).view());
  for (std::size_t at = 0; at < rows * cols; at += (at % cols < 40 ? 1 : 13)) {
    auto values = clean;
    values[at] = bad;
    if (at + 2 < values.size())
      values[at + 2] = bad; // must not be the one reported
    const auto source = make_tensor(values, type, rows, cols);
    planes out(with, rows, cols);
    INFO(with.name() << ", " << name_of(type) << ", " << bad << " at " << at);
    const status wanted{errc::not_finite, at};
    REQUIRE(with.row->encode_reference(with, source.view(), numbers, out.pointers()) == wanted);
    REQUIRE(with.row->encode_simd(with, source.view(), numbers, out.pointers()) == wanted);
    if (with.row->survey_run != nullptr) {
      survey found;
      REQUIRE(with.row->survey_run(with, source.view(), found) == wanted);
    }
  }
}

} // namespace

TEST_CASE("every method finds NaN and infinity wherever they stand, and says the first",
          "[method][edge]") {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const auto& row : methods())
    for (const auto& text : spellings(row)) {
      if (tests::sanitized && text != row.name)
        continue;
      for (const auto type : dtypes)
        for (const float bad : {nan, -nan, infinity, -infinity})
          require_found(recipe_of(text, type), bad, 3, cols_of(row, 69));
    }
}

TEST_CASE("every method finds NaN on every target", "[method][edge]") {
  for (const auto& row : methods())
    for (const auto& text : spellings(row))
      for (const auto type : dtypes)
        for_each_target([&] {
          const std::size_t cols = cols_of(row, 96);
          const auto with = recipe_of(text, type);
          auto values = values_of(data_sets().front(), cols, type, 5);
          for (std::size_t at = cols; at-- > 0; at -= std::min<std::size_t>(at, 10)) {
            values[at] = at % 2 == 0 ? std::numeric_limits<float>::quiet_NaN()
                                     : -std::numeric_limits<float>::infinity();
            const auto source = make_tensor(values, type, 1, cols);
            planes out(with, 1, cols);
            INFO(text << ", " << name_of(type) << ", at " << at);
            REQUIRE(with.row->encode_simd(with, source.view(), {}, out.pointers())
                    == status{errc::not_finite, at});
          }
        });
}

namespace {

/// Puts `bad` at places that only whole vectors, blocks and later runs see, and one behind each.
void require_found_far_in(std::string_view text, dtype type, std::size_t rows, std::size_t cols) {
  const auto with = recipe_of(text, type);
  const auto clean = values_of(data_sets().front(), rows * cols, type, 5);
  auto source = make_tensor(clean, type, rows, cols);
  const auto numbers = numbers_of(with, source.view());
  planes out(with, rows, cols);
  const auto put = [&](std::size_t at, float x) {
    store_f32_reference(&x, type, 1, source.bytes.data() + at * bytes_of(type));
  };
  const std::size_t last = rows * cols - 1;
  for (const std::size_t at : {std::size_t{0}, cols - 1, cols + 5, rows / 2 * cols + cols / 2 + 1,
                               (rows - 1) * cols, last - 17, last}) {
    put(at, at % 2 == 0 ? std::numeric_limits<float>::quiet_NaN()
                        : -std::numeric_limits<float>::infinity());
    put(last, std::numeric_limits<float>::infinity()); // not the one reported
    INFO(text << ", " << name_of(type) << ", " << rows << " x " << cols << ", at " << at);
    const status wanted{errc::not_finite, at};
    REQUIRE(with.row->encode_simd(with, source.view(), numbers, out.pointers()) == wanted);
    error_sums sums;
    for (error_sums* measured : {&sums, static_cast<error_sums*>(nullptr)})
      REQUIRE(encode_and_measure(with, source.view(), numbers, out.pointers(), measured, path::simd)
              == wanted);
    if (with.row->survey_run != nullptr) {
      survey found;
      REQUIRE(with.row->survey_run(with, source.view(), found) == wanted);
    }
    put(at, clean[at]);
    put(last, clean[last]);
  }
}

} // namespace

TEST_CASE("every method finds NaN far into rows, blocks and runs, on every target",
          "[method][edge]") {
  for (const auto& row : methods())
    for (const auto type : dtypes) {
      if (tests::sanitized && type != dtype::bf16)
        continue;
      for_each_target([&] {
        require_found_far_in(row.name, type, 130, cols_of(row, 640));
        require_found_far_in(row.name, type, 3, cols_of(row, 4352));
      });
    }
}

TEST_CASE("every method refuses rows that are not whole blocks, before it touches them",
          "[method][edge]") {
  for (const auto& row : methods()) {
    const auto cols = static_cast<std::size_t>(row.cols_multiple) * 3 - 1;
    if (row.cols_multiple == 1)
      continue;
    INFO(row.name);
    const auto with = recipe_of(row.name, dtype::f32);
    const auto source = make_tensor(std::vector<float>(2 * cols, 1.0f), dtype::f32, 2, cols);
    std::vector<std::byte> bytes(1 << 16, std::byte{0x5A});
    const std::vector<std::byte*> out(planes_max, bytes.data());
    const std::vector<const std::byte*> in(planes_max, bytes.data());
    std::vector<float> values(2 * cols + 16, -7.0f);
    const status wanted{errc::bad_shape};
    CHECK(row.encode_simd(with, source.view(), {}, out) == wanted);
    CHECK(row.encode_reference(with, source.view(), {}, out) == wanted);
    if (row.name == "sparse24-dense")
      continue; // what it reads are values, of any number
    CHECK(row.decode_simd(with, 2, cols, {}, in, values.data()) == wanted);
    CHECK(row.decode_reference(with, 2, cols, {}, in, values.data()) == wanted);
    CHECK(std::ranges::count(bytes, std::byte{0x5A}) == 1 << 16);
    CHECK(std::ranges::count(values, -7.0f) == static_cast<long>(values.size()));
  }
}

TEST_CASE("weighed methods refuse another number of weights than columns", "[method][edge]") {
  for (const std::string_view name :
       {"awq", "sparse24", "int4:search", "q4_0", "nvfp4-four-or-six"}) {
    INFO(name);
    auto with = recipe_of(name, dtype::f32);
    const std::vector<float> weights(255, 1.0f);
    with.channels = weights;
    const auto source = make_tensor(std::vector<float>(512, 1.0f), dtype::f32, 2, 256);
    planes made(with, 2, 256);
    CHECK(with.row->encode_simd(with, source.view(), {{1, 1}}, made.pointers()).code
          == errc::bad_shape);
    CHECK(with.row->encode_reference(with, source.view(), {{1, 1}}, made.pointers()).code
          == errc::bad_shape);
  }
}

TEST_CASE("encoding a tensor run by run gives the bytes of encoding it whole", "[method][runs]") {
  for (const auto& row : methods())
    for (const auto& text : spellings(row)) {
      const std::size_t cols = cols_of(row, 96);
      const auto with = recipe_of(text, dtype::bf16);
      const auto grain = static_cast<std::size_t>(row.shape(with, cols).rows_grain);
      const std::size_t rows = 2 * grain + 3;
      const auto source = make_tensor(values_of(data_sets().front(), rows * cols, dtype::bf16, 3),
                                      dtype::bf16, rows, cols);
      const auto numbers = numbers_of(with, source.view());
      planes whole(with, rows, cols);
      planes parts(with, rows, cols);
      REQUIRE(row.encode_simd(with, source.view(), numbers, whole.pointers()) == status{});
      const auto shape = row.shape(with, cols);
      for (std::size_t first = 0; first < rows; first += grain) {
        auto to = parts.pointers();
        for (std::size_t p = 0; p < to.size(); ++p)
          to[p] += shape.planes[p].offset(first, cols);
        const auto run = source.view().slice(first, std::min(grain, rows - first));
        REQUIRE(row.encode_simd(with, run, numbers, to) == status{});
      }
      INFO(text);
      REQUIRE(whole == parts);
    }
}

TEST_CASE("encode_and_measure writes encode's bytes and the errors of decode",
          "[method][metrics]") {
  for (const auto& row : methods())
    for (const auto type : dtypes) {
      const std::size_t cols = cols_of(row, 128);
      const std::size_t rows = (std::size_t{100} << 10) / cols + 1;
      const auto with = recipe_of(row.name, type);
      const auto values = values_of(data_sets().front(), rows * cols, type, 3);
      const auto source = make_tensor(values, type, rows, cols);
      const auto numbers = numbers_of(with, source.view());
      planes plain(with, rows, cols);
      REQUIRE(row.encode_reference(with, source.view(), numbers, plain.pointers()) == status{});
      std::vector<float> decoded(values.size());
      REQUIRE(row.decode_reference(with, rows, cols, numbers, std::as_const(plain).pointers(),
                                   decoded.data())
              == status{});
      error_sums wanted;
      measure_reference(source.view(), decoded.data(), wanted);
      for (const auto which : {path::reference, path::simd}) {
        planes measured(with, rows, cols);
        error_sums sums;
        REQUIRE(encode_and_measure(with, source.view(), numbers, measured.pointers(), &sums, which)
                == status{});
        INFO(row.name << ", " << name_of(type) << ", " << name_of(which));
        REQUIRE(measured == plain);
        REQUIRE(sums.encode() == wanted.encode());
      }
    }
}

} // namespace viva::kernels::testing
