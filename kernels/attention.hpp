#pragma once

// Attention: softmax(scale q k^T + bias) v, exact, forward, without a matrix of scores.
//
// Source    the online softmax of FlashAttention (arXiv:2205.14135, arXiv:2307.08691); parts over
//           ranges of keys merge by their log-sum-exp, as in flash-decoding.
// Shapes    q, out (batch, heads, queries, head_size); k, v (batch, kv_heads, keys, head_size),
//           each at any strides; values of one row lie together. Head h meets kv head
//           h / (heads / kv_heads). head_size is a multiple of 8 from 32 to 256.
// Encoded   k and v may each lie as the planes of a method (q8_0, int8, fp8, nf4 and others), which
//           are decoded as they are met. The bytes that come out are those of the decoded values.
// Visible   Query i stands at position p = i + all keys - queries, so the last query meets the last
//           key. causal: keys j <= p. window W: keys with |p - j| < W. No key at all: out is 0 and
//           the log-sum-exp -inf.
// Numbers   Any input type, sums in f32. NaN in a row of q or a visible row of k makes NaN of the
//           rows it enters, no other; so do scores above f32's range. Those below it hide their
//           key, as a bias below -2.3e38 does, whatever k has there. What is not finite in v stays
//           so in its column of rows where its key weighs; in others it counts nothing.
// Bound     |out - exact| / |exact|, row by row in the norm: 2e-6 for f32 with scores of N(0,1),
//           2^-22 max|score| more (under a bias, of keys that weigh); f16 5e-4; bf16 6e-3, all 3e-3
// Exactness Bytes are a function of the inputs, the shape, the target and, for bf16, of the unit
//           that multiplies it (bf16_unit.hpp): not of how work is cut into pieces or of threads.
//           Merging adds parts in the order in which they are given.
// Memory    `scratch` stays below 1 MiB for a thread, whatever the lengths; decoders keep some KiB.

#include "kernels/dtype.hpp"
#include "kernels/error.hpp"
#include "kernels/registry.hpp"
#include "kernels/scratch.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

namespace viva::kernels::attention {

struct shape {
  std::size_t batch = 1, heads = 1, kv_heads = 1;
  std::size_t queries = 0, keys = 0, head_size = 0;
  /// Keys of the sequence behind those that are given, where a part sees a range. Query i stands at
  /// key i + keys + keys_after - queries of the range; keys in front of it change nothing.
  std::size_t keys_after = 0;
  float scale = 0; ///< 0: 1 / sqrt(head_size).
  bool causal = false;
  std::size_t window = 0; ///< 0: none.

  /// The window, cut to a width that hides nothing more: differences to it cannot overflow.
  constexpr std::size_t reach() const noexcept {
    return std::min(window, keys + keys_after + queries);
  }
};

/// Where row i of head h of sequence b lies: at b * sequence + h * head + i * row.
struct strides {
  std::size_t sequence = 0, head = 0, row = 0;

  constexpr std::size_t at(std::size_t b, std::size_t h, std::size_t i) const noexcept {
    return b * sequence + h * head + i * row;
  }
  /// Bytes of a packed (…, heads, rows, row_bytes) tensor.
  static constexpr strides packed(std::size_t heads, std::size_t rows,
                                  std::size_t row_bytes) noexcept {
    return {heads * rows * row_bytes, rows * row_bytes, row_bytes};
  }
};

/// A tensor that a method has encoded, and where the rows of each head lie in it: row i of head h
/// of sequence b is head_size values from column h * head_columns of row rows.at(b, h, i) on.
struct encoded_tensor {
  recipe how;
  tensor_numbers numbers{};
  std::size_t rows_count = 0, cols = 0;
  std::array<const std::byte*, planes_max> planes{}; ///< As `geometry` has them for (rows, cols).
  strides rows{};                                    ///< In rows.
  std::size_t head_columns = 0; ///< head_size, or 0 where a row of the tensor is a row of one head.

  /// (batch, heads, rows, head_size): every row is a row of one head. Its planes are to be set.
  static encoded_tensor packed(const recipe&, std::size_t batch, std::size_t heads,
                               std::size_t rows, std::size_t head_size);
};

/// Rows of head_size values; any alignment.
struct source_rows {
  const std::byte* data = nullptr;
  dtype type = dtype::f32;
  strides bytes{};
  std::size_t skipped = 0; ///< Row i is row skipped + i of what lies there.
  /// Set: k or v as a method's planes; `data` and `bytes` mean nothing then, and `type` is f32.
  const encoded_tensor* encoded = nullptr;

  constexpr const std::byte* at(std::size_t b, std::size_t h, std::size_t i) const noexcept {
    return data + bytes.at(b, h, skipped + i);
  }
};

/// f32 added to scaled scores: value (b, h, i, j) at data[values.at(b, h, i) + j]. A stride of 0
/// shares it; null: none. -inf hides a key.
struct additive_bias {
  const float* data = nullptr;
  strides values{};
};

struct inputs {
  source_rows q, k, v;
  additive_bias bias{};
};

struct outputs {
  std::byte* out = nullptr;
  dtype type = dtype::f32;
  strides bytes{};
  float* lse = nullptr; ///< (batch, heads, queries) natural logarithms; null: not wanted.
};

/// Whether the shape is one that `attend` takes; `bad_shape` otherwise.
status check(const shape&) noexcept;

/// Whether tiles of the tensor can be decoded for the shape's heads. `bad_shape`: a block of the
/// method would reach over the end of a head or of its row; `unsupported`: runs of rows that the
/// method encodes together are longer than 16.
status check(const shape&, const encoded_tensor&) noexcept;

/// Pieces into which the work falls, each a run of queries that may go to a thread of its own.
std::size_t pieces(const shape&) noexcept;
/// `rows` of packed (batch, heads, queries) from `first` on: what a piece computes, of one kv head.
struct piece_rows { std::size_t sequence, kv_head, first, rows; };
piece_rows rows_of_piece(const shape&, std::size_t i) noexcept;

/// Computes pieces [first, first + count). `over_budget` where `memory` cannot grow, `malformed`
/// where k or v has bytes that its method cannot have written; out is then of no use. q is never
/// encoded.
status attend(const shape&, const inputs&, const outputs&, std::size_t first, std::size_t count,
              scratch& memory) noexcept;

/// All of it, in double, score by score. Slow and obvious; out as doubles (batch, heads, queries,
/// head_size) and lse (batch, heads, queries), which may be null. `malformed` as `attend`.
status attend_reference(const shape&, inputs, double* out, double* lse);

/// What came of one range of keys: out (rows, head_size), lse (rows).
struct part {
  const float* out = nullptr;
  const float* lse = nullptr;
};

/// Merges parts, in their order, into out (rows, head_size) of `type` and lse (rows, may be null).
void merge(std::span<const part> parts, std::size_t rows, std::size_t head_size, std::byte* out,
           dtype type, float* lse) noexcept;

} // namespace viva::kernels::attention
