#pragma once

// What attention gave, and how far it is from the truth.

#include "kernels/attention.hpp"
#include "tests/support/catch.hpp"

#include <cmath>
#include <string>
#include <vector>

namespace viva::kernels::testing {

inline std::string describe(const attention::shape& of) {
  std::string text;
  for (const auto& [name, value] : {std::pair{"batch", of.batch},
                                    {"heads", of.heads},
                                    {"kv heads", of.kv_heads},
                                    {"queries", of.queries},
                                    {"keys", of.keys},
                                    {"head size", of.head_size},
                                    {"causal", std::size_t{of.causal}},
                                    {"window", of.window}})
    text += std::string(name) + " " + std::to_string(value) + ", ";
  return text;
}

/// Packed (batch, heads, queries, head_size) and (batch, heads, queries), from any type.
struct result {
  dtype type;
  std::vector<std::byte> bytes;
  std::vector<float> out, lse;

  explicit result(const attention::shape& of, dtype as = dtype::f32)
      : type(as), bytes(rows(of) * of.head_size * bytes_of(as) + 1), out(rows(of) * of.head_size),
        lse(rows(of), 77.0f) {}
  static std::size_t rows(const attention::shape& of) {
    return of.batch * of.heads * of.queries;
  }
  /// Where f32 goes to `out` itself, other types to one past an aligned address.
  attention::outputs to(const attention::shape& of) {
    auto* data = type == dtype::f32 ? reinterpret_cast<std::byte*>(out.data()) : bytes.data() + 1;
    return {data, type,
            attention::strides::packed(of.heads, of.queries, of.head_size * bytes_of(type)),
            lse.data()};
  }
  const float* row(const attention::shape& of, std::size_t i) const {
    return out.data() + i * of.head_size;
  }
};

struct exact {
  std::vector<double> out, lse;
};

/// As if it were the truth, for what must be near it.
inline exact as_exact(const result& got) {
  return {{got.out.begin(), got.out.end()}, {got.lse.begin(), got.lse.end()}};
}

/// What attention.hpp promises of one row with scores of N(0, 1).
inline double row_bound(dtype type) {
  return type == dtype::f32 ? 2e-6 : type == dtype::bf16 ? 6e-3 : 5e-4;
}

/// |got - truth| / |truth| of all rows together.
inline double error_of_whole(const result& got, const exact& truth) {
  double error = 0, size = 0;
  for (std::size_t i = 0; i < truth.out.size(); ++i) {
    error += std::pow(static_cast<double>(got.out[i]) - truth.out[i], 2);
    size += truth.out[i] * truth.out[i];
  }
  return error == 0 ? 0 : std::sqrt(error / size);
}

/// |got - truth| <= bound |truth|, row by row in the norm; log-sum-exps likewise.
inline void require_close(const attention::shape& of, const result& got, const exact& truth,
                          double bound) {
  for (std::size_t row = 0; row < truth.lse.size(); ++row) {
    double error = 0, size = 0;
    for (std::size_t i = row * of.head_size; i < (row + 1) * of.head_size; ++i) {
      error += std::pow(static_cast<double>(got.out[i]) - truth.out[i], 2);
      size += truth.out[i] * truth.out[i];
    }
    const double lse = static_cast<double>(got.lse[row]);
    if (!(std::sqrt(error) <= bound * std::sqrt(size)))
      FAIL("row " << row << ": error " << std::sqrt(error / size) << " above " << bound);
    if (!(lse == truth.lse[row]
          || std::fabs(lse - truth.lse[row]) <= 2 * bound + 1e-6 * std::fabs(truth.lse[row])))
      FAIL("row " << row << ": log-sum-exp " << lse << " for " << truth.lse[row]);
  }
}

/// The promise for scores of N(0, 1), of every row and of all together.
inline void require_promise(const attention::shape& of, const result& got, const exact& truth,
                            dtype type) {
  require_close(of, got, truth, row_bound(type));
  if (type == dtype::bf16)
    REQUIRE(error_of_whole(got, truth) <= 3e-3);
}

} // namespace viva::kernels::testing
