#pragma once

// The generator and the hash of the golden vectors, and buffers that hold an encoded tensor.

#include "kernels/bytes.hpp"
#include "kernels/convert.hpp"
#include "kernels/registry.hpp"

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace viva::kernels::testing {

/// Uniform cubed: many small values, few large.
inline std::vector<float> generate(std::size_t count, std::uint32_t seed) {
  std::vector<float> values(count);
  for (auto& x : values) {
    seed = seed * 1664525u + 1013904223u;
    const auto u = static_cast<float>(static_cast<std::int32_t>(seed >> 8) - 8388608) / 8388608.0f;
    const float square = u * u;
    x = square * u * 0.25f;
  }
  return values;
}

/// What goes into the columns of weighed methods: the imatrix of the golden vectors.
inline std::vector<float> importance(std::size_t count, std::uint32_t seed) {
  std::vector<float> made;
  for (std::size_t i = 0; i < count; ++i) {
    seed = seed * 1664525u + 1013904223u;
    const auto whole = static_cast<std::int32_t>(seed >> 8) - 8388608;
    const float u = static_cast<float>(whole) * (1 / 8388608.0f);
    made.push_back(u * u + 0.01f);
  }
  return made;
}

/// FNV-1a with the golden vectors' own offset basis.
inline std::uint64_t golden_hash(const void* data, std::size_t bytes) {
  return fnv1a({static_cast<const char*>(data), bytes}, 1469598103934665603u);
}
inline std::uint64_t golden_hash(const std::vector<std::byte>& bytes) {
  return golden_hash(bytes.data(), bytes.size());
}

/// A source tensor that owns its bytes.
struct tensor {
  std::vector<std::byte> bytes;
  dtype type = dtype::f32;
  std::size_t rows = 0;
  std::size_t cols = 0;

  matrix view() const {
    return {bytes.data(), type, rows, cols};
  }
};

inline tensor make_tensor(const std::vector<float>& values, dtype type, std::size_t rows,
                          std::size_t cols) {
  tensor made{std::vector<std::byte>(values.size() * bytes_of(type)), type, rows, cols};
  store_f32_reference(values.data(), type, values.size(), made.bytes.data());
  return made;
}

/// The planes of an encoded tensor.
struct planes {
  std::vector<std::vector<std::byte>> each;

  planes(const recipe& with, std::size_t rows, std::size_t cols) {
    const auto shape = with.row->shape(with, cols);
    for (const auto& one : shape.all())
      each.emplace_back(static_cast<std::size_t>(one.bytes(0, rows, cols)), std::byte{0xA5});
  }
  std::vector<std::byte*> pointers() {
    std::vector<std::byte*> to;
    for (auto& plane : each)
      to.push_back(plane.data());
    return to;
  }
  std::vector<const std::byte*> pointers() const {
    std::vector<const std::byte*> from;
    for (const auto& plane : each)
      from.push_back(plane.data());
    return from;
  }
  friend bool operator==(const planes&, const planes&) = default;
};

/// The fewest columns, at least `wanted`, that a method takes.
inline std::size_t cols_of(const method& row, std::size_t wanted) {
  const auto multiple = static_cast<std::size_t>(row.cols_multiple);
  return (wanted + multiple - 1) / multiple * multiple;
}

inline recipe recipe_of(std::string_view text, dtype source) {
  auto parsed = parse_recipe(text, source);
  if (!parsed)
    throw std::invalid_argument(parsed.error().text);
  return *parsed;
}

/// The numbers of the whole tensor, where its method asks for them.
inline tensor_numbers numbers_of(const recipe& with, const matrix& in) {
  if (with.row->survey_run == nullptr)
    return {};
  survey found;
  if (!with.row->survey_run(with, in, found))
    return {};
  return with.row->survey_finish(with, found);
}

/// A method's words with each of its options, one at a time, and with all flags and the last size.
inline std::vector<std::string> spellings(const method& row) {
  std::vector<std::string> all{std::string(row.name)};
  if (!row.rules.size_key.empty())
    for (const auto size : row.rules.sizes.subspan(1))
      all.push_back(all.front() + ":" + std::string(row.rules.size_key) + "="
                    + std::to_string(size));
  for (const auto& flag : row.rules.flags)
    all.push_back(all.front() + ":" + std::string(flag.name));
  if (row.rules.flags.size() > 1) {
    auto together = row.rules.size_key.empty() ? all.front() : all[row.rules.sizes.size() - 1];
    for (const auto& flag : row.rules.flags)
      together.append(":").append(flag.name);
    all.push_back(together);
  }
  return all;
}

inline const char* name_of(path which) {
  return which == path::reference ? "reference" : "simd";
}

} // namespace viva::kernels::testing
