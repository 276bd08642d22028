// Attention of few queries, compiled once per target: the shape of decoding, bound by memory.
//
// Columns lie in lanes; each row of k and v is read once from memory for up to four queries. Rows
// are read one after the other, first to last column, in long runs: what the processor fetches by
// itself then keeps up, which it does not where four rows are read side by side. Rows of q8_0 are
// decoded in registers; those of other methods in short runs, which stay in the first cache.

#include "kernels/attention_groups-inl.hpp"
#include "kernels/attention_piece.hpp"
#include "kernels/attention_readers-inl.hpp"

#include <algorithm>
#include <cstring>

#if defined(VIVA_KERNELS_ATTENTION_FEW_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_ATTENTION_FEW_INL
#undef VIVA_KERNELS_ATTENTION_FEW_INL
#else
#define VIVA_KERNELS_ATTENTION_FEW_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// Of one stream before the other's turn: 512 KiB of f32 at 128 columns. At 128 keys, finding
/// the stream again takes a sixth of the time.
inline constexpr std::size_t few_tile_keys = 1024;

/// Up to so many rows of a kv head are few: a group would compute the lanes that it lacks.
HWY_INLINE constexpr std::size_t few_rows_max() {
  return group_rows() / 2;
}

HWY_INLINE std::size_t few_pitch(std::size_t cols) {
  return (cols + lanes() - 1) / lanes() * lanes();
}

/// Every row has its arrays one behind the other, `pitch` values apart; all aligned.
struct few_queries {
  std::size_t rows, cols, pitch;
  float *queries, *out; ///< (rows, pitch), zeros behind cols.
  float* part;          ///< The tile's share of out: of 10^5 keys one sum would lose 7e-6.
  float *max, *sum;     ///< (rows); max is -inf while unseen.
  float* weights;       ///< (rows, few_tile_keys)
  const attention::key_range* seen;
};

/// Four partial sums a 128-bit block, added over the blocks.
template <class V>
HWY_INLINE hn::Vec<quad> fold_blocks(V v) {
  const hn::DFromV<V> d;
  if constexpr (hn::MaxLanes(d) == 4) {
    return v;
  } else {
    const hn::Half<decltype(d)> half;
    return fold_blocks(hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

/// The sums of the lanes of four vectors.
HWY_INLINE hn::Vec<quad> sums_of(vf32 a, vf32 b, vf32 c, vf32 e) {
  const df32 d;
  const hn::Repartition<double, df32> dd;
  const auto ab = hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
  const auto ce = hn::Add(hn::InterleaveLower(d, c, e), hn::InterleaveUpper(d, c, e));
  const auto low = hn::InterleaveLower(dd, hn::BitCast(dd, ab), hn::BitCast(dd, ce));
  const auto high = hn::InterleaveUpper(dd, hn::BitCast(dd, ab), hn::BitCast(dd, ce));
  return fold_blocks(hn::Add(hn::BitCast(d, low), hn::BitCast(d, high)));
}

template <std::size_t Rows>
struct few_block {
  vf32 of[4][Rows]; ///< Of four keys.
};

template <class Reader, bool Tail, std::size_t Rows>
HWY_INLINE void few_step(const few_queries& q, std::size_t row, const std::byte* k, std::size_t col,
                         vf32 (&s)[Rows]) {
  const auto run = Reader::template open<Tail>(k, col);
  each_opened<Reader>([&](std::size_t i) VIVA_INLINE_LAMBDA {
    const auto values = run.at(i);
    VIVA_UNROLL(4)
    for (std::size_t r = 0; r < Rows; ++r) {
      const float* query = q.queries + (row + r) * q.pitch + col + i * lanes();
      s[r] = hn::MulAdd(values, hn::Load(df32(), query), s[r]);
    }
  });
}

/// Scores of rows [row, row + Rows), four keys at a time; the last key again past the end.
template <class Reader, std::size_t Rows>
HWY_INLINE void few_scores(const few_queries& q, const few_run& run, std::size_t row) {
  const df32 d;
  const std::size_t whole = q.cols / Reader::columns * Reader::columns;
  for (std::size_t key = 0; key < run.keys; key += 4) {
    few_block<Rows> s;
    VIVA_UNROLL(4)
    for (std::size_t i = 0; i < 4; ++i) {
      const std::byte* k = run.rows + std::min(key + i, run.keys - 1) * run.pitch;
      if (row == 0)
        fetch_ahead<Reader>(run, k, 0, q.cols);
      VIVA_UNROLL(4)
      for (auto& each : s.of[i])
        each = hn::Zero(d);
      for (std::size_t col = 0; col < whole; col += Reader::columns)
        few_step<Reader, false>(q, row, k, col, s.of[i]);
      if constexpr (Reader::columns == lanes())
        if (whole < q.cols)
          few_step<Reader, true>(q, row, k, whole, s.of[i]);
    }
    VIVA_UNROLL(4)
    for (std::size_t r = 0; r < Rows; ++r)
      hn::StoreU(sums_of(s.of[0][r], s.of[1][r], s.of[2][r], s.of[3][r]), quad(),
                 q.weights + (row + r) * few_tile_keys + run.at + key);
  }
}

/// part += weights times values for Vectors vectors of columns from `col` on.
template <class Reader, std::size_t Rows, std::size_t Vectors, bool Tail = false>
HWY_INLINE void few_columns(const few_queries& q, const few_run& run, std::size_t row,
                            std::size_t col) {
  const df32 d;
  constexpr std::size_t opened = Reader::columns / hn::MaxLanes(d);
  vf32 s[Rows][Vectors];
  VIVA_UNROLL(4)
  for (std::size_t r = 0; r < Rows; ++r)
    VIVA_UNROLL(8)
  for (std::size_t c = 0; c < Vectors; ++c)
    s[r][c] = hn::Load(d, q.part + (row + r) * q.pitch + col + c * lanes());
  for (std::size_t key = 0; key < run.keys; ++key) {
    const std::byte* v = run.rows + key * run.pitch;
    if (row == 0)
      fetch_ahead<Reader>(run, v, col, Vectors * lanes());
    VIVA_UNROLL(8)
    for (std::size_t c = 0; c < Vectors; c += opened) {
      const auto open = Reader::template open<Tail>(v, col + c * lanes());
      each_opened<Reader>([&](std::size_t i) VIVA_INLINE_LAMBDA {
        const auto values = open.at(i);
        VIVA_UNROLL(4)
        for (std::size_t r = 0; r < Rows; ++r) {
          const auto weight = hn::Set(d, q.weights[(row + r) * few_tile_keys + run.at + key]);
          s[r][c + i] = hn::MulAdd(values, weight, s[r][c + i]);
        }
      });
    }
  }
  VIVA_UNROLL(4)
  for (std::size_t r = 0; r < Rows; ++r)
    VIVA_UNROLL(8)
  for (std::size_t c = 0; c < Vectors; ++c)
    hn::Store(s[r][c], d, q.part + (row + r) * q.pitch + col + c * lanes());
}

template <class Reader, std::size_t Rows>
HWY_INLINE void few_sums(const few_queries& q, const few_run& run, std::size_t row) {
  // Sums in half the registers, and no more passes over the tile than that takes.
  constexpr std::size_t least = Reader::columns / hn::MaxLanes(df32());
  constexpr std::size_t wide = Rows == 1 || (block_keys == 8 && Rows == 2) ? 8 : 4;
  std::size_t col = 0;
  if constexpr (least <= wide)
    for (; col + wide * lanes() <= q.cols; col += wide * lanes())
      few_columns<Reader, Rows, wide>(q, run, row, col);
  if constexpr (least <= 4)
    for (; col + 4 * lanes() <= q.cols; col += 4 * lanes())
      few_columns<Reader, Rows, 4>(q, run, row, col);
  for (; col + Reader::columns <= q.cols; col += Reader::columns)
    few_columns<Reader, Rows, least>(q, run, row, col);
  if constexpr (least == 1)
    if (col < q.cols)
      few_columns<Reader, Rows, 1, true>(q, run, row, col);
}

/// Scores of the tile to weights; out and sum to the row's new maximum.
inline void weigh_few(const piece& of, const few_queries& q, const few_tile& tile,
                      std::size_t row) {
  const df32 d;
  const auto hidden = hn::Set(d, -std::numeric_limits<float>::infinity());
  float* HWY_RESTRICT weights = q.weights + row * few_tile_keys;
  const std::size_t keys = (tile.keys + lanes() - 1) / lanes() * lanes();
  HWY_ALIGN float bias[few_tile_keys];
  std::fill_n(bias, keys, 0.0f);
  if (of.in->bias.data != nullptr)
    std::memcpy(bias, of.bias(row) + tile.key, tile.keys * sizeof(float));
  const auto end = std::min(q.seen[row].last - tile.key, static_cast<std::int32_t>(tile.keys));
  const auto first = hn::Set(di32(), q.seen[row].first - tile.key), last = hn::Set(di32(), end);
  auto top = hidden;
  for (std::size_t i = 0; i < keys; i += lanes()) {
    const auto at = hn::Iota(di32(), static_cast<std::int32_t>(i));
    const auto visible = hn::RebindMask(d, hn::AndNot(hn::Gt(first, at), hn::Gt(last, at)));
    const auto by = hn::Load(d, bias + i), bits = hn::Set(d, log2_e);
    auto s = hn::MulAdd(by, bits, hn::Load(d, weights + i));
    s = hn::IfThenElse(hn::Eq(hn::Mul(by, bits), hidden), hidden, s); // whatever its key has
    s = hn::IfThenElse(visible, s, hidden);
    hn::Store(s, d, weights + i);
    top = hn::Max(top, hn::IfThenZeroElse(hn::IsNaN(s), s)); // NaN shows in weights
  }
  const float highest = hn::GetLane(hn::MaxOfLanes(d, top));
  const float before = q.max[row];
  const float max = std::max(before, highest);
  if (max == -std::numeric_limits<float>::infinity()) {
    std::fill_n(weights, keys, 0.0f);
    return;
  }
  const auto shrink = exp2(hn::Set(d, before - max));
  const auto minus = hn::Set(d, max);
  auto sum = hn::Zero(d);
  for (std::size_t i = 0; i < keys; i += lanes()) {
    const auto weight = exp2(hn::Sub(hn::Load(d, weights + i), minus));
    hn::Store(weight, d, weights + i);
    sum = hn::Add(sum, weight);
  }
  q.max[row] = max;
  q.sum[row] = q.sum[row] * hn::GetLane(shrink) + hn::GetLane(hn::SumOfLanes(d, sum));
  if (before != max)
    for (std::size_t c = 0; c < q.pitch; c += lanes()) {
      float* at = q.out + row * q.pitch + c;
      hn::Store(hn::Mul(hn::Load(d, at), shrink), d, at);
    }
}

/// Calls body<Rows>(row) for runs of four, two and one rows.
template <class Body>
HWY_INLINE void over_rows(std::size_t rows, const Body& body) {
  std::size_t row = 0;
  for (; row + 4 <= rows; row += 4)
    body(std::integral_constant<std::size_t, 4>(), row);
  if (row + 2 <= rows) {
    body(std::integral_constant<std::size_t, 2>(), row);
    row += 2;
  }
  if (row < rows)
    body(std::integral_constant<std::size_t, 1>(), row);
}

/// Scores of the tile's keys to weights.
inline status score_few(const piece& of, const few_queries& q, const few_tile& tile,
                        float* decoded) {
  const auto score = [&](auto reader, const few_run& run) {
    over_rows(q.rows, [&](auto rows, std::size_t row) {
      few_scores<decltype(reader), rows>(q, run, row);
    });
  };
  return over_runs(of, of.in->k, tile, decoded, score, [&] {
    bool numbers = true;
    for (std::size_t row = 0; numbers && row < q.rows; ++row) {
      float* scores = q.weights + row * few_tile_keys;
      std::fill(scores + tile.keys, scores + few_pitch(tile.keys), 0.0f);
      numbers = all_numbers(scores, tile.keys);
    }
    return numbers;
  });
}

/// The tile's weights times its values to part.
inline status sum_few(const piece& of, const few_queries& q, const few_tile& tile,
                      float* decoded) {
  const auto numbers = [&] { return all_numbers(q.part, q.rows * q.pitch); };
  const auto sum = [&](auto reader, const few_run& run) {
    over_rows(q.rows,
              [&](auto rows, std::size_t row) { few_sums<decltype(reader), rows>(q, run, row); });
  };
  return over_runs(of, of.in->v, tile, decoded, sum, numbers);
}

/// Calls body(run) for the runs of its keys that weigh in the row.
template <class Body>
void over_weighing(const few_queries& q, std::size_t row, const few_run& run, const Body& body) {
  const float* weights = q.weights + row * few_tile_keys + run.at;
  for (std::size_t begin = 0, end = 0; begin < run.keys; begin = end) {
    const bool weighs = weights[begin] != 0; // NaN does
    for (end = begin + 1; end < run.keys && (weights[end] != 0) == weighs;)
      ++end;
    if (weighs)
      body(few_run{run.rows + begin * run.pitch, run.pitch, run.at + begin, end - begin,
                   run.ahead});
  }
}

/// The same without keys that do not weigh in a row: zero times a value that is no number is NaN.
inline status sum_few_apart(const piece& of, const few_queries& q, const few_tile& tile,
                            float* decoded) {
  const auto sum = [&](auto reader, const few_run& run) {
    for (std::size_t row = 0; row < q.rows; ++row)
      over_weighing(q, row, run,
                    [&](const few_run& part) { few_sums<decltype(reader), 1>(q, part, row); });
  };
  return over_runs(of, of.in->v, tile, decoded, sum, [] { return true; }); // or had none before
}

/// Whether some row has sums that are no numbers though all its weights are.
HWY_INLINE bool any_curable(const few_queries& q) {
  for (std::size_t row = 0; row < q.rows; ++row)
    if (!std::isnan(q.sum[row]) && !all_numbers(q.out + row * q.pitch, q.pitch))
      return true;
  return false;
}

/// `numbers`: every value is taken for one.
inline status attend_few_rows(const piece& of, const few_queries& q, float* decoded,
                              const attention::key_range& keys, bool numbers) {
  const df32 d;
  std::fill_n(q.out, q.rows * q.pitch, 0.0f);
  std::fill_n(q.max, q.rows, -std::numeric_limits<float>::infinity());
  std::fill_n(q.sum, q.rows, 0.0f);
  few_tile tile{};
  for (tile.key = keys.first; tile.key < keys.last; tile.key += few_tile_keys) {
    tile.keys = std::min(few_tile_keys, static_cast<std::size_t>(keys.last - tile.key));
    if (const auto scored = score_few(of, q, tile, decoded); !scored)
      return scored;
    for (std::size_t row = 0; row < q.rows; ++row)
      weigh_few(of, q, tile, row);
    std::fill_n(q.part, q.rows * q.pitch, 0.0f);
    const auto sum = numbers ? sum_few : sum_few_apart;
    if (const auto summed = sum(of, q, tile, decoded); !summed)
      return summed;
    for (std::size_t i = 0; i < q.rows * q.pitch; i += lanes())
      hn::Store(hn::Add(hn::Load(d, q.out + i), hn::Load(d, q.part + i)), d, q.out + i);
  }
  return {};
}

/// What `attend_few` takes.
HWY_INLINE std::size_t few_bytes(std::size_t head_size) {
  return 3 * array_bytes(few_rows_max() * few_pitch(head_size)) + 2 * array_bytes(few_rows_max())
         + array_bytes(few_rows_max() * few_tile_keys)
         + array_bytes(attention::decoded_rows_max(few_decoded_keys(head_size)) * head_size);
}

/// A piece of at most few_rows_max() rows. `memory` holds few_bytes(head_size), aligned.
inline status attend_few(const piece& of, std::byte* memory) {
  const df32 d;
  few_queries q{};
  q.rows = of.rows;
  q.cols = of.of->head_size;
  q.pitch = few_pitch(q.cols);
  carver carve{memory};
  q.queries = carve.take<float>(q.rows * q.pitch);
  q.out = carve.take<float>(q.rows * q.pitch);
  q.part = carve.take<float>(q.rows * q.pitch);
  q.max = carve.take<float>(q.rows);
  q.sum = carve.take<float>(q.rows);
  q.weights = carve.take<float>(q.rows * few_tile_keys);
  const std::size_t decoded_keys = attention::decoded_rows_max(few_decoded_keys(q.cols));
  float* decoded = carve.take<float>(decoded_keys * q.cols);
  std::fill_n(q.queries, q.rows * q.pitch, 0.0f);
  attention::key_range seen[few_rows_max()];
  q.seen = seen;
  attention::key_range keys{std::numeric_limits<std::int32_t>::max(), 0};
  for (std::size_t row = 0; row < q.rows; ++row) {
    load_f32(of.q(row), of.in->q.type, q.cols, q.queries + row * q.pitch);
    for (std::size_t c = 0; c < q.pitch; c += lanes()) {
      float* at = q.queries + row * q.pitch + c;
      hn::Store(hn::Mul(hn::Load(d, at), hn::Set(d, of.scale() * log2_e)), d, at);
    }
    seen[row] = of.keys(row);
    if (seen[row].first < seen[row].last)
      keys = {std::min(keys.first, seen[row].first), std::max(keys.last, seen[row].last)};
  }
  auto done = attend_few_rows(of, q, decoded, keys, true);
  if (done && any_curable(q))
    done = attend_few_rows(of, q, decoded, keys, false);
  if (!done)
    return done;
  for (std::size_t row = 0; row < q.rows; ++row) {
    float* out = q.out + row * q.pitch;
    const float inverse = q.sum[row] == 0 ? 0 : 1 / q.sum[row];
    for (std::size_t c = 0; c < q.pitch; c += lanes())
      hn::Store(hn::Mul(hn::Load(d, out + c), hn::Set(d, inverse)), d, out + c);
    store_f32(out, of.to->type, q.cols, of.out(row));
    if (float* lse = of.lse(row))
      *lse = natural_lse(q.max[row], q.sum[row]);
  }
  return {};
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
