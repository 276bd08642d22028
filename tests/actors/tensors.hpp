#pragma once

// Small tensors for the pipeline's tests, and what each must become.

#include "actors/pipeline.hpp"
#include "tests/support/catch.hpp"

#include <algorithm>
#include <cstring>
#include <random>
#include <span>
#include <vector>

namespace viva::testing {

using tensor_values = std::vector<float>;

#ifdef VIVA_PROGRAM
/// The isolation is a parameter of its test.
inline pipeline_options lanes_of(std::uint32_t count, isolation kind) {
  return {.lanes = count, .isolation = kind, .lane_program = VIVA_PROGRAM};
}
#endif

inline tensor_values normal_values(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.3f);
  tensor_values values(count);
  std::ranges::generate(values, [&] { return normal(random); });
  return values;
}

/// Work that keeps lanes busy for some milliseconds.
inline const tensor_values& large_values() {
  static const auto values = normal_values(8 << 20, 3);
  return values;
}

inline std::vector<tensor_values> many_tensors(std::size_t count, std::size_t values) {
  std::vector<tensor_values> all;
  for (std::size_t i = 0; i < count; ++i)
    all.push_back(normal_values(values, static_cast<std::uint32_t>(i)));
  return all;
}

/// By the reference, the whole tensor at once.
inline encoded by_reference(const char* words, const kernels::matrix& in) {
  const auto how = kernels::parse_recipe(words, in.type).value();
  encoded result(how, in.rows, in.cols);
  if (how.row->survey_run != nullptr) {
    kernels::survey seen;
    REQUIRE(how.row->survey_run(how, in, seen));
    result.numbers = how.row->survey_finish(how, seen);
  }
  std::array<std::byte*, kernels::planes_max> to{};
  for (std::size_t p = 0; p < result.map().count; ++p)
    to[p] = result.data() + result.map().offset[p];
  REQUIRE(how.row->encode_reference(how, in, result.numbers, {to.data(), result.map().count}));
  return result;
}
inline encoded by_reference(const char* words, const tensor_values& values) {
  return by_reference(words, {reinterpret_cast<const std::byte*>(values.data()), dtype::f32, 1,
                              values.size()});
}

/// The values as rows of `cols`.
inline tensor_view matrix_of(std::span<const float> values, std::uint64_t cols) {
  auto view = view_of(values);
  view.rows = values.size() / cols;
  view.cols = cols;
  return view;
}
inline encoded matrix_by_reference(const char* words, std::span<const float> values,
                                   std::uint64_t cols) {
  const auto view = matrix_of(values, cols);
  return by_reference(words, {view.data, view.type, view.rows, view.cols});
}

inline bool same_bytes(const encoded_view& a, const encoded_view& b) {
  if (a.planes() != b.planes() || a.numbers() != b.numbers())
    return false;
  for (std::size_t p = 0; p < a.planes(); ++p)
    if (!std::ranges::equal(a.plane(p), b.plane(p)))
      return false;
  return true;
}

/// Rows that may be apart, encoded as if they were together.
inline encoded together_by_reference(const char* words, const tensor_view& view) {
  tensor_values together;
  for (std::uint64_t r = 0; r < view.rows; ++r) {
    const auto* row = reinterpret_cast<const float*>(view.data + r * view.step());
    together.insert(together.end(), row, row + view.cols);
  }
  return by_reference(words, {reinterpret_cast<const std::byte*>(together.data()), dtype::f32,
                              view.rows, view.cols});
}

} // namespace viva::testing
