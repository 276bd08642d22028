// Attention with queries in lanes, compiled once per target.
//
// A group of queries lies in the lanes of a few vectors, transposed: S^T = K Q^T and O^T += V^T P^T
// read K and V where they lie, one value broadcast at a time, and maximum, sum and rescaling are
// plain vectors without a reduction over lanes.
//
// The running maximum m is a lower bound of the true one within 8 (in bits): weights 2^(s - m) stay
// below 256 and nothing is rescaled while a block's scores stay below m + 8. Sums start at -m, so
// subtracting it is free; but not under a bias, whose masks of -1e9 make an m that would swallow
// the next keys' scores. A lane is unseen until its first visible key; its m is 0 and its sum 0.

#include "kernels/attention_exp-inl.hpp"
#include "kernels/attention_piece.hpp"
#include "kernels/simd-inl.hpp"

#include <cmath>
#include <limits>

#if defined(VIVA_KERNELS_ATTENTION_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_ATTENTION_INL
#undef VIVA_KERNELS_ATTENTION_INL
#else
#define VIVA_KERNELS_ATTENTION_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

// Registers: block_keys x group_vectors sums, as many for a block of output columns.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
inline constexpr std::size_t group_vectors = 2, block_keys = 8, block_cols = 8;
#else // of 16 registers, twelve sums, two queries and a key
inline constexpr std::size_t group_vectors = 2, block_keys = 6, block_cols = 4;
#endif
/// Keys whose weights are kept, whole blocks of them: 16 KiB of a group of 32.
inline constexpr std::size_t tile_keys = block_keys == 6 ? 96 : 128;
inline constexpr std::size_t piece_groups = 4;

inline constexpr float log2_e = 1.44269504089f; ///< Scores are in bits.

/// The logarithm of sum * 2^max.
inline float natural_lse(float max, float sum) {
  const double bits = static_cast<double>(max) + std::log2(static_cast<double>(sum));
  return static_cast<float>(bits * 0.693147180559945309);
}

HWY_INLINE constexpr std::size_t group_rows() {
  return group_vectors * lanes();
}

/// One group: every array is (…, group_rows) f32, aligned.
struct query_group {
  float scale;                ///< Of scores in bits, where the queries are not scaled.
  float* queries;             ///< (head_size, rows), times scale and log2(e); or pairs of bf16.
  float* out;                 ///< (head_size, rows), not yet divided.
  float* max;                 ///< m.
  float* sum;                 ///< Of weights; 0 while unseen.
  float* part;                ///< The same of this tile: of 10^5 keys one sum would lose 3e-6.
  std::int32_t *first, *last; ///< Visible keys of each row.
  std::int32_t first_min, first_max, last_min, last_max; ///< Over rows that see any.
  bool unseen; ///< Some row that will see a key has seen none.
};

/// What a group meets: keys [key, key + keys) with their rows as f32.
struct key_tile {
  const std::byte *k, *v;       ///< First rows; unaligned f32.
  std::size_t k_pitch, v_pitch; ///< Bytes between rows.
  std::int32_t key;
  std::size_t keys;
  std::size_t head_size;
  float* weights; ///< (tile_keys, rows): bias in, weights out.
  bool biased;
  /// (tile_keys / 2, rows) pairs of bf16, or null. v is pairs, too: (pairs, head_size).
  float* paired;
};

/// The bias of `keys` keys from `key` on for the group's rows, in bits, turned: (keys, rows).
inline void load_bias(const attention::piece& of, std::size_t first_row, std::int32_t key,
                      std::size_t keys, float* HWY_RESTRICT to) {
  for (std::size_t r = 0; r < group_rows(); ++r) {
    const float* bias = of.bias(std::min(first_row + r, of.rows - 1)) + key;
    for (std::size_t i = 0; i < keys; ++i)
      to[i * group_rows() + r] = bias[i] * log2_e;
  }
}

/// out, sum and the tile's earlier weights times `factor`, (rows).
inline HWY_NOINLINE void rescale(const query_group& g, const key_tile& tile, std::size_t keys_done,
                                 const float* HWY_RESTRICT factor) {
  const df32 d;
  const auto scale_rows = [&](float* values, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
      for (std::size_t c = 0; c < group_rows(); c += lanes(), values += lanes())
        hn::Store(hn::Mul(hn::Load(d, values), hn::Load(d, factor + c)), d, values);
  };
  scale_rows(g.out, tile.head_size);
  scale_rows(g.sum, 1);
  scale_rows(g.part, 1);
  scale_rows(tile.weights, keys_done);
}

template <std::size_t Keys>
struct score_block {
  vf32 of[Keys][group_vectors];
};

/// Whether some row's scores climb so high above its m that weights could overflow. Each vector is
/// asked: a maximum of two would forget a row where the other's row of that lane is NaN.
HWY_INLINE bool any_climbs(const vf32 (&top)[group_vectors]) {
  const df32 d;
  auto climbs = hn::Gt(top[0], hn::Set(d, 8.0f));
  VIVA_UNROLL(4)
  for (std::size_t c = 1; c < group_vectors; ++c)
    climbs = hn::Or(climbs, hn::Gt(top[c], hn::Set(d, 8.0f)));
  return !hn::AllFalse(d, climbs);
}

/// Raises m by `delta`, to `highest`, where scores up to `top` above it need that; what was summed
/// is rescaled.
HWY_INLINE void raise(query_group& g, const key_tile& tile, std::size_t keys_done,
                      const vf32 (&top)[group_vectors], const vf32 (&highest)[group_vectors],
                      vf32 (&delta)[group_vectors]) {
  const df32 d;
  HWY_ALIGN float factor[group_rows()];
  bool moved = false;
  g.unseen = false;
  VIVA_UNROLL(4)
  for (std::size_t c = 0; c < group_vectors; ++c) {
    const std::size_t lane = c * lanes();
    const auto hidden = hn::Set(d, -std::numeric_limits<float>::infinity());
    const auto sum = hn::Add(hn::Load(d, g.sum + lane), hn::Load(d, g.part + lane));
    const auto unseen = hn::Eq(sum, hn::Zero(d));
    const auto still = hn::And(unseen, hn::Eq(top[c], hidden));
    const auto above = hn::IfThenElse(unseen, top[c], hn::Max(top[c], hn::Zero(d)));
    delta[c] = hn::IfThenElse(still, hn::Zero(d), above);
    const auto shrink = exp2(hn::Neg(delta[c]));
    hn::Store(hn::IfThenElse(unseen, hn::Set(d, 1.0f), shrink), d, factor + lane);
    const auto stays = hn::Eq(delta[c], hn::Zero(d));
    hn::Store(hn::IfThenElse(stays, hn::Load(d, g.max + lane), highest[c]), d, g.max + lane);
    moved = moved || !hn::AllTrue(d, hn::Or(unseen, stays));
    const auto some = hn::RebindMask(
        d, hn::Lt(hn::Load(di32(), g.first + lane), hn::Load(di32(), g.last + lane)));
    g.unseen = g.unseen || !hn::AllFalse(d, hn::And(still, some));
  }
  if (moved)
    rescale(g, tile, keys_done, factor);
}

/// What m rises to where scores up to `top` above it make it rise.
HWY_INLINE void raise(query_group& g, const key_tile& tile, std::size_t keys_done,
                      const vf32 (&top)[group_vectors], vf32 (&delta)[group_vectors]) {
  vf32 highest[group_vectors];
  VIVA_UNROLL(4)
  for (std::size_t c = 0; c < group_vectors; ++c)
    highest[c] = hn::Add(hn::Load(df32(), g.max + c * lanes()), top[c]);
  raise(g, tile, keys_done, top, highest, delta);
}

/// The highest score of each row.
template <std::size_t Keys>
HWY_INLINE void find_top(const score_block<Keys>& s, vf32 (&top)[group_vectors]) {
  VIVA_UNROLL(4)
  for (std::size_t c = 0; c < group_vectors; ++c) {
    top[c] = s.of[0][c];
    VIVA_UNROLL(8)
    for (std::size_t r = 1; r < Keys; ++r)
      top[c] = hn::Max(top[c], s.of[r][c]);
  }
}

template <std::size_t Keys>
HWY_INLINE void subtract(const vf32 (&what)[group_vectors], score_block<Keys>& s) {
  VIVA_UNROLL(4)
  for (std::size_t c = 0; c < group_vectors; ++c)
    VIVA_UNROLL(8)
  for (std::size_t r = 0; r < Keys; ++r)
    s.of[r][c] = hn::Sub(s.of[r][c], what[c]);
}

/// Raises m where the block's scores, which are above it already, need that.
template <std::size_t Keys>
HWY_INLINE void settle_above(query_group& g, const key_tile& tile, std::size_t at,
                             score_block<Keys>& s) {
  vf32 top[group_vectors], delta[group_vectors];
  find_top<Keys>(s, top);
  if (HWY_LIKELY(!g.unseen && !any_climbs(top)))
    return;
  raise(g, tile, at, top, delta);
  subtract<Keys>(delta, s);
}

/// The same of whole scores: m is one of them to the bit, however far below the last one was.
template <std::size_t Keys>
HWY_INLINE void settle_whole(query_group& g, const key_tile& tile, std::size_t at,
                             score_block<Keys>& s) {
  const df32 d;
  vf32 highest[group_vectors], max[group_vectors], top[group_vectors], delta[group_vectors];
  find_top<Keys>(s, highest);
  VIVA_UNROLL(4)
  for (std::size_t c = 0; c < group_vectors; ++c)
    top[c] = hn::Sub(highest[c], hn::Load(d, g.max + c * lanes()));
  if (HWY_UNLIKELY(g.unseen || any_climbs(top)))
    raise(g, tile, at, top, highest, delta);
  VIVA_UNROLL(4)
  for (std::size_t c = 0; c < group_vectors; ++c)
    max[c] = hn::Load(d, g.max + c * lanes());
  subtract<Keys>(max, s);
}

/// How scores and sums are multiplied: f32 values of K and V where they lie, queries scaled before.
struct f32_products {
  static constexpr std::size_t columns = 1; ///< Of the head, in one step.
  static HWY_INLINE vf32 start(vf32 max) {
    return hn::Neg(max);
  }
  static HWY_INLINE vf32 finish(const query_group&, vf32 score, vf32) {
    return score;
  }
  static HWY_INLINE vf32 add(vf32 a, vf32 b, vf32 sum) {
    return hn::MulAdd(a, b, sum);
  }
};

/// One step along the head: every sum gets the products of its query and its key at 4 bytes of
/// each.
template <class Products, std::size_t Keys>
HWY_INLINE void score_step(const float* HWY_RESTRICT queries, const std::byte* HWY_RESTRICT k,
                           std::size_t pitch, std::size_t j, score_block<Keys>& s) {
  const df32 d;
  vf32 q[group_vectors];
  VIVA_UNROLL(4)
  for (std::size_t c = 0; c < group_vectors; ++c)
    q[c] = hn::Load(d, queries + j * group_rows() + c * lanes());
  VIVA_UNROLL(8)
  for (std::size_t r = 0; r < Keys; ++r) {
    const auto value = hn::Set(d, load_as<float>(k + r * pitch + 4 * j));
    VIVA_UNROLL(4)
    for (std::size_t c = 0; c < group_vectors; ++c)
      s.of[r][c] = Products::add(value, q[c], s.of[r][c]);
  }
}

template <std::size_t Keys>
HWY_INLINE void hide(const query_group& g, std::int32_t key, score_block<Keys>& s) {
  const df32 d;
  const auto hidden = hn::Set(d, -std::numeric_limits<float>::infinity());
  VIVA_UNROLL(4)
  for (std::size_t c = 0; c < group_vectors; ++c) {
    const auto first = hn::Load(di32(), g.first + c * lanes());
    const auto last = hn::Load(di32(), g.last + c * lanes());
    VIVA_UNROLL(8)
    for (std::size_t r = 0; r < Keys; ++r) {
      const auto at = hn::Set(di32(), key + static_cast<std::int32_t>(r));
      const auto seen = hn::AndNot(hn::Gt(first, at), hn::Gt(last, at));
      s.of[r][c] = hn::IfThenElse(hn::RebindMask(d, seen), s.of[r][c], hidden);
    }
  }
}

/// Weights of keys [at, at + Keys) of the tile, and their sums.
template <class Products, bool Biased, std::size_t Keys, bool Masked>
HWY_INLINE void weigh_keys(query_group& g, const key_tile& tile, std::size_t at) {
  const df32 d;
  float* HWY_RESTRICT weights = tile.weights + at * group_rows();
  score_block<Keys> s;
  const auto taken = [&](std::size_t c) HWY_ATTR { // from scores while they are summed
    return Biased ? hn::Zero(d) : hn::Load(d, g.max + c * lanes());
  };
  VIVA_UNROLL(4)
  for (std::size_t c = 0; c < group_vectors; ++c) {
    const auto start = Products::start(taken(c));
    VIVA_UNROLL(8)
    for (std::size_t r = 0; r < Keys; ++r)
      s.of[r][c] = start;
  }
  const std::byte* k = tile.k + at * tile.k_pitch;
  for (std::size_t j = 0; j < tile.head_size / Products::columns; j += 2) {
    score_step<Products, Keys>(g.queries, k, tile.k_pitch, j, s);
    score_step<Products, Keys>(g.queries, k, tile.k_pitch, j + 1, s);
  }
  VIVA_UNROLL(4)
  for (std::size_t c = 0; c < group_vectors; ++c) {
    const auto max = taken(c);
    VIVA_UNROLL(8)
    for (std::size_t r = 0; r < Keys; ++r)
      s.of[r][c] = Products::finish(g, s.of[r][c], max);
  }
  if constexpr (Biased) {
    VIVA_UNROLL(8)
    for (std::size_t r = 0; r < Keys; ++r)
      VIVA_UNROLL(4)
    for (std::size_t c = 0; c < group_vectors; ++c)
      s.of[r][c] = biased(s.of[r][c], hn::Load(d, weights + r * group_rows() + c * lanes()));
  }
  if constexpr (Masked)
    hide<Keys>(g, tile.key + static_cast<std::int32_t>(at), s);
  if constexpr (Biased)
    settle_whole<Keys>(g, tile, at, s);
  else
    settle_above<Keys>(g, tile, at, s);
  VIVA_UNROLL(4)
  for (std::size_t c = 0; c < group_vectors; ++c) {
    auto sum = hn::Zero(d);
    VIVA_UNROLL(8)
    for (std::size_t r = 0; r < Keys; ++r) {
      const auto weight = exp2(s.of[r][c]);
      hn::Store(weight, d, weights + r * group_rows() + c * lanes());
      sum = hn::Add(sum, weight);
    }
    float* total = g.part + c * lanes();
    hn::Store(hn::Add(hn::Load(d, total), sum), d, total);
  }
}

/// The same for a block of any place: masked where a row ends or begins inside it.
template <class Products, bool Biased, std::size_t Keys>
HWY_INLINE std::size_t weigh_block(query_group& g, const key_tile& tile, std::size_t at) {
  const auto key = tile.key + static_cast<std::int32_t>(at);
  if (key < g.first_max || key + static_cast<std::int32_t>(Keys) > g.last_min)
    weigh_keys<Products, Biased, Keys, true>(g, tile, at);
  else
    weigh_keys<Products, Biased, Keys, false>(g, tile, at);
  return at + Keys;
}

template <class Products, bool Biased>
HWY_NOINLINE void weigh_tile(query_group& g, const key_tile& tile) {
  const df32 d;
  for (std::size_t c = 0; c < group_rows(); c += lanes())
    hn::Store(hn::Zero(d), d, g.part + c);
  std::size_t at = 0;
  while (at + block_keys <= tile.keys)
    at = weigh_block<Products, Biased, block_keys>(g, tile, at);
  if constexpr (block_keys > 4)
    if (at + 4 <= tile.keys)
      at = weigh_block<Products, Biased, 4>(g, tile, at);
  if (at + 2 <= tile.keys)
    at = weigh_block<Products, Biased, 2>(g, tile, at);
  if (at < tile.keys)
    weigh_block<Products, Biased, 1>(g, tile, at);
  for (std::size_t c = 0; c < group_rows(); c += lanes())
    hn::Store(hn::Add(hn::Load(d, g.sum + c), hn::Load(d, g.part + c)), d, g.sum + c);
}

template <class Products>
HWY_INLINE void weigh_any_tile(query_group& g, const key_tile& tile) {
  if (tile.biased)
    weigh_tile<Products, true>(g, tile);
  else
    weigh_tile<Products, false>(g, tile);
}

/// out += weights times values, block_cols columns at a time: `steps` rows of weights, of v as
/// many.
template <class Products>
HWY_NOINLINE void add_values(const query_group& g, const key_tile& tile,
                             const float* HWY_RESTRICT all_weights, std::size_t steps) {
  const df32 d;
  for (std::size_t col = 0; col < tile.head_size; col += block_cols) {
    vf32 s[block_cols][group_vectors];
    VIVA_UNROLL(8)
    for (auto& row : s)
      VIVA_UNROLL(4)
    for (auto& each : row)
      each = hn::Zero(d);
    const std::byte* HWY_RESTRICT v = tile.v + 4 * col;
    const float* HWY_RESTRICT weights = all_weights;
    for (std::size_t step = 0; step < steps; ++step) {
      vf32 w[group_vectors];
      VIVA_UNROLL(4)
      for (std::size_t c = 0; c < group_vectors; ++c)
        w[c] = hn::Load(d, weights + c * lanes());
      VIVA_UNROLL(8)
      for (std::size_t r = 0; r < block_cols; ++r) {
        const auto value = hn::Set(d, load_as<float>(v + 4 * r));
        VIVA_UNROLL(4)
        for (std::size_t c = 0; c < group_vectors; ++c)
          s[r][c] = Products::add(value, w[c], s[r][c]);
      }
      v += tile.v_pitch;
      weights += group_rows();
    }
    float* HWY_RESTRICT out = g.out + col * group_rows();
    VIVA_UNROLL(8)
    for (std::size_t r = 0; r < block_cols; ++r)
      VIVA_UNROLL(4)
    for (std::size_t c = 0; c < group_vectors; ++c) {
      float* to = out + r * group_rows() + c * lanes();
      hn::Store(hn::Add(hn::Load(d, to), s[r][c]), d, to);
    }
  }
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
