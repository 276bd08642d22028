#pragma once

// Problems for attention, strided and unaligned, and what is done with them.

#include "kernels/convert.hpp"
#include "kernels/scalar.hpp"
#include "tests/kernels/attention_result.hpp"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace viva::kernels::testing {

/// Shapes whose lengths are no multiple of anything, one for each feature and some for all.
inline std::vector<attention::shape> attention_shapes() {
  return {
      {.queries = 1, .keys = 1, .head_size = 32},
      {.queries = 3, .keys = 5, .head_size = 40},
      {.heads = 2, .kv_heads = 2, .queries = 33, .keys = 65, .head_size = 64},
      {.queries = 64, .keys = 128, .head_size = 128},
      {.batch = 2, .heads = 4, .kv_heads = 2, .queries = 37, .keys = 101, .head_size = 72},
      {.heads = 6, .kv_heads = 1, .queries = 1, .keys = 300, .head_size = 128},
      {.queries = 2, .keys = 517, .head_size = 256},
      {.heads = 3, .kv_heads = 1, .queries = 1, .keys = 2500, .head_size = 72},
      {.queries = 3, .keys = 2500, .head_size = 128, .causal = true, .window = 1400},
      {.queries = 131, .keys = 131, .head_size = 64, .causal = true},
      {.queries = 40, .keys = 203, .head_size = 96, .causal = true},
      {.queries = 203, .keys = 40, .head_size = 96, .causal = true}, // most rows see no key
      {.queries = 150, .keys = 150, .head_size = 32, .causal = true, .window = 1},
      {.queries = 150, .keys = 170, .head_size = 32, .causal = true, .window = 33},
      {.queries = 150, .keys = 170, .head_size = 32, .window = 20},
      {.heads = 2, .kv_heads = 1, .queries = 45, .keys = 45, .head_size = 64, .scale = 0.01f},
      {.queries = 300, .keys = 0, .head_size = 64},
      {.queries = 0, .keys = 12, .head_size = 64},
  };
}

struct problem {
  attention::shape of;
  dtype type;
  std::vector<std::byte> q, k, v; ///< (batch, rows, heads, head_size), one past aligned.
  std::vector<float> bias;        ///< (heads, queries, keys), shared by the batch; or empty.
  bool one_bias = false;          ///< Of it, the first query's is every row's.

  problem(const attention::shape& shape, dtype as, bool biased, std::uint32_t seed)
      : of(shape), type(as) {
    std::mt19937 random(seed);
    q = normals(of.batch * of.queries * of.heads * of.head_size, random);
    k = normals(of.batch * of.keys * of.kv_heads * of.head_size, random);
    v = normals(of.batch * of.keys * of.kv_heads * of.head_size, random);
    std::normal_distribution<float> normal;
    bias.resize(biased ? of.heads * of.queries * of.keys : 0);
    for (auto& each : bias)
      each = normal(random);
  }

  std::vector<std::byte> normals(std::size_t count, std::mt19937& random) const {
    std::vector<std::byte> bytes(count * bytes_of(type) + 1);
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < count; ++i)
      put_value(normal(random), type, bytes.data() + 1, i);
    return bytes;
  }
  void put(std::vector<std::byte>& side, std::size_t i, float x) {
    put_value(x, type, side.data() + 1, i);
  }
  /// Scores become about slope * key.
  void ramp(float slope) {
    for (std::size_t i = 0; i < of.queries; ++i)
      put(q, i * of.head_size, std::sqrt(static_cast<float>(of.head_size)));
    for (std::size_t j = 0; j < of.keys; ++j)
      put(k, j * of.head_size, slope * static_cast<float>(j));
  }
  /// Of the first sequence: every column of a key by 0.5, of its value by `value_by`.
  void move_key(std::size_t key, std::size_t kv_head = 0, float value_by = 0.5f) {
    for (std::size_t c = 0; c < of.head_size; ++c) {
      const std::size_t i = (key * of.kv_heads + kv_head) * of.head_size + c;
      put(k, i, value_of(k.data() + 1, type, i) + 0.5f);
      put(v, i, value_of(v.data() + 1, type, i) + value_by);
    }
  }

  attention::source_rows rows(const std::vector<std::byte>& side, std::size_t heads,
                              std::size_t count) const {
    const std::size_t row = of.head_size * bytes_of(type);
    return {side.data() + 1, type, {count * heads * row, row, heads * row}};
  }
  attention::inputs in() const {
    attention::inputs all{rows(q, of.heads, of.queries), rows(k, of.kv_heads, of.keys),
                          rows(v, of.kv_heads, of.keys)};
    if (!bias.empty())
      all.bias = {bias.data(),
                  one_bias ? attention::strides{} : attention::strides{0, of.queries * of.keys,
                                                                       of.keys}};
    return all;
  }
  exact truth() const {
    exact got{std::vector<double>(result::rows(of) * of.head_size),
              std::vector<double>(result::rows(of))};
    REQUIRE(attention::attend_reference(of, in(), got.out.data(), got.lse.data()) == status{});
    return got;
  }
  result attend() const {
    result got(of, type);
    scratch memory;
    const std::size_t count = attention::pieces(of);
    REQUIRE(attention::attend(of, in(), got.to(of), 0, count, memory) == status{});
    if (type != dtype::f32)
      load_f32_reference(got.bytes.data() + 1, type, got.out.size(), got.out.data());
    return got;
  }
  /// Parts over the keys between cuts, merged into rows of `as`.
  result merged(const std::vector<std::size_t>& cuts, dtype as = dtype::f32) const {
    std::vector<result> results;
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
      auto part = of;
      part.keys = cuts[i + 1] - cuts[i];
      part.keys_after = of.keys - cuts[i + 1];
      auto given = in();
      given.k.skipped = given.v.skipped = cuts[i];
      given.bias.data += bias.empty() ? 0 : cuts[i];
      scratch memory;
      auto& got = results.emplace_back(of);
      REQUIRE(attention::attend(part, given, got.to(of), 0, attention::pieces(part), memory)
              == status{});
    }
    std::vector<attention::part> parts;
    for (const auto& each : results)
      parts.push_back({each.out.data(), each.lse.data()});
    result whole(of, as);
    attention::merge(parts, result::rows(of), of.head_size, whole.to(of).out, as,
                     whole.lse.data());
    if (as != dtype::f32)
      load_f32_reference(whole.bytes.data() + 1, as, whole.out.size(), whole.out.data());
    return whole;
  }
};

} // namespace viva::kernels::testing
