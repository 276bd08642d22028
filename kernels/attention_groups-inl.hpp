// A piece of attention by groups of queries: queries in, tiles of keys through, rows out.

#include "kernels/attention-inl.hpp"
#include "kernels/attention_bf16-inl.hpp"
#include "kernels/attention_piece.hpp"
#include "kernels/attention_readers-inl.hpp"
#include "kernels/attention_tile_walk-inl.hpp"

#include <algorithm>
#include <cstring>
#include <span>

#if defined(VIVA_KERNELS_ATTENTION_GROUPS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_ATTENTION_GROUPS_INL
#undef VIVA_KERNELS_ATTENTION_GROUPS_INL
#else
#define VIVA_KERNELS_ATTENTION_GROUPS_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

using attention::piece;

/// Bytes of an array, up to the next one's alignment.
HWY_INLINE constexpr std::size_t array_bytes(std::size_t count) {
  return (count * sizeof(float) + 63) / 64 * 64;
}

/// Takes aligned arrays of four-byte values from one piece of memory, in order.
struct carver {
  std::byte* at;

  template <class T>
  T* take(std::size_t count) {
    static_assert(sizeof(T) == sizeof(float));
    auto* taken = reinterpret_cast<T*>(at);
    at += array_bytes(count);
    return taken;
  }
};

/// What `attend_groups` takes.
HWY_INLINE std::size_t groups_bytes(std::size_t head_size) {
  const std::size_t group =
      2 * array_bytes(head_size * group_rows()) + 5 * array_bytes(group_rows());
  return piece_groups * group + 2 * array_bytes(tile_keys * group_rows())
         + array_bytes(tiles_floats())
         + 2 * array_bytes(attention::decoded_rows_max(tile_keys) * head_size);
}

using quad = hn::CappedTag<float, 4>;

/// Of each 128-bit block, four rows of four values, turned.
template <class V>
HWY_INLINE void turn(V (&rows)[4]) {
  const hn::DFromV<V> d;
  const hn::Repartition<double, decltype(d)> dd;
  const auto a = hn::InterleaveLower(d, rows[0], rows[1]);
  const auto b = hn::InterleaveLower(d, rows[2], rows[3]);
  const auto e = hn::InterleaveUpper(d, rows[0], rows[1]);
  const auto f = hn::InterleaveUpper(d, rows[2], rows[3]);
  const auto pairs = [&](auto x) HWY_ATTR { return hn::BitCast(dd, x); };
  rows[0] = hn::BitCast(d, hn::InterleaveLower(dd, pairs(a), pairs(b)));
  rows[1] = hn::BitCast(d, hn::InterleaveUpper(dd, pairs(a), pairs(b)));
  rows[2] = hn::BitCast(d, hn::InterleaveLower(dd, pairs(e), pairs(f)));
  rows[3] = hn::BitCast(d, hn::InterleaveUpper(dd, pairs(e), pairs(f)));
}

/// Its blocks one after the other, `apart` values apart.
template <class V>
HWY_INLINE void store_blocks(V v, float* out, std::size_t apart) {
  const hn::DFromV<V> d;
  if constexpr (hn::MaxLanes(d) == 4) {
    hn::StoreU(v, d, out);
  } else {
    const hn::Half<decltype(d)> half;
    store_blocks(hn::LowerHalf(half, v), out, apart);
    store_blocks(hn::UpperHalf(half, v), out + hn::MaxLanes(half) / 4 * apart, apart);
  }
}

/// Four rows of `in`, one vector of each, into four columns of `out`.
template <class D>
HWY_INLINE void turn_vectors(D d, const float* HWY_RESTRICT in, std::size_t in_pitch,
                             float* HWY_RESTRICT out, std::size_t out_pitch) {
  hn::Vec<D> rows[4];
  VIVA_UNROLL(4)
  for (std::size_t i = 0; i < 4; ++i)
    rows[i] = hn::LoadU(d, in + i * in_pitch);
  turn(rows);
  VIVA_UNROLL(4)
  for (std::size_t i = 0; i < 4; ++i)
    store_blocks(rows[i], out + i * out_pitch, 4 * out_pitch);
}

/// in: (rows, cols) at a pitch in values; out: (cols, rows) likewise. Both divide by four.
HWY_INLINE void turn_all(const float* HWY_RESTRICT in, std::size_t in_pitch, std::size_t rows,
                         std::size_t cols, float* HWY_RESTRICT out, std::size_t out_pitch) {
  for (std::size_t r = 0; r < rows; r += 4) {
    const float* from = in + r * in_pitch;
    std::size_t c = 0;
    for (; c + lanes() <= cols; c += lanes())
      turn_vectors(df32(), from + c, in_pitch, out + c * out_pitch + r, out_pitch);
    for (; c < cols; c += 4)
      turn_vectors(quad(), from + c, in_pitch, out + c * out_pitch + r, out_pitch);
  }
}

/// Rows that a group reads at a time, on the stack: f32, scaled.
inline constexpr std::size_t strip_rows = 4;

/// Fills the group with rows [first, …); past the last row of the piece that one again, so
/// that every lane holds numbers.
inline void open_group(const piece& of, std::size_t first, bool paired, query_group& g) {
  const df32 d;
  const std::size_t cols = of.of->head_size;
  g.scale = of.scale() * log2_e;
  HWY_ALIGN float strip[strip_rows * 256];
  for (std::size_t r = 0; r < group_rows(); r += strip_rows) {
    const std::size_t width = paired ? cols / 2 : cols;
    for (std::size_t i = 0; i < strip_rows; ++i) {
      const auto* q = of.q(std::min(first + r + i, of.rows - 1));
      if (paired)
        std::memcpy(strip + i * width, q, width * sizeof(float));
      else
        load_f32(q, of.in->q.type, cols, strip + i * width);
    }
    for (std::size_t i = 0; !paired && i < strip_rows * cols; i += lanes())
      hn::Store(hn::Mul(hn::Load(d, strip + i), hn::Set(d, g.scale)), d, strip + i);
    turn_all(strip, width, strip_rows, width, g.queries + r, group_rows());
  }
  std::fill_n(g.out, cols * group_rows(), 0.0f);
  std::fill_n(g.max, group_rows(), 0.0f);
  std::fill_n(g.sum, group_rows(), 0.0f);
  std::fill_n(g.part, group_rows(), 0.0f);
  g.first_min = g.last_min = std::numeric_limits<std::int32_t>::max();
  g.first_max = g.last_max = 0;
  g.unseen = false;
  for (std::size_t r = 0; r < group_rows(); ++r) {
    const auto seen = of.keys(std::min(first + r, of.rows - 1));
    g.first[r] = seen.first;
    g.last[r] = seen.last;
    g.first_max = std::max(g.first_max, seen.first);
    g.last_min = std::min(g.last_min, seen.last);
    g.last_max = std::max(g.last_max, seen.last);
    if (seen.first < seen.last) {
      g.first_min = std::min(g.first_min, seen.first);
      g.unseen = true;
    }
  }
}

/// Divides, and writes the rows that are the piece's.
inline void close_group(const piece& of, std::size_t first, const query_group& g) {
  const df32 d;
  const std::size_t cols = of.of->head_size;
  const auto one = hn::Set(d, 1.0f);
  HWY_ALIGN float inverse[group_rows()];
  for (std::size_t c = 0; c < group_rows(); c += lanes()) {
    const auto sum = hn::Load(d, g.sum + c);
    const auto none = hn::Eq(sum, hn::Zero(d));
    hn::Store(hn::IfThenElseZero(hn::Not(none), hn::Div(one, hn::IfThenElse(none, one, sum))), d,
              inverse + c);
  }
  for (std::size_t j = 0; j < cols; ++j)
    for (std::size_t c = 0; c < group_rows(); c += lanes()) {
      float* at = g.out + j * group_rows() + c;
      hn::Store(hn::Mul(hn::Load(d, at), hn::Load(d, inverse + c)), d, at);
    }
  HWY_ALIGN float rows[group_rows() * 256];
  turn_all(g.out, group_rows(), cols, group_rows(), rows, cols);
  for (std::size_t r = 0; r < group_rows() && first + r < of.rows; ++r) {
    store_f32(rows + r * cols, of.to->type, cols, of.out(first + r));
    if (float* lse = of.lse(first + r))
      *lse = natural_lse(g.max[r], g.sum[r]);
  }
}

/// Rows [at, at + count) of one side as f32: where they lie, or widened or decoded into `to`.
HWY_INLINE side tile_side(const piece& of, const attention::source_rows& rows, std::size_t at,
                          std::size_t count, float* to) {
  const std::size_t cols = of.of->head_size;
  if (rows.encoded != nullptr) {
    const auto made = attention::decode_rows(*rows.encoded, cols, of.sequence, of.kv_head,
                                             rows.skipped + at, count, to);
    return {reinterpret_cast<const std::byte*>(made.first), cols * sizeof(float), made.done};
  }
  const std::byte* first = rows.at(of.sequence, of.kv_head, at);
  if (rows.type == dtype::f32)
    return {first, rows.bytes.row};
  for (std::size_t i = 0; i < count; ++i)
    load_f32(first + i * rows.bytes.row, rows.type, cols, to + i * cols);
  return {reinterpret_cast<const std::byte*>(to), cols * sizeof(float)};
}

/// out += weight times value of one value that is no number, in rows where its key weighs.
inline void add_alone(const query_group& g, const key_tile& tile, std::size_t at, std::size_t col,
                      float value) {
  const df32 d;
  for (std::size_t c = 0; c < group_rows(); c += lanes()) {
    float* out = g.out + col * group_rows() + c;
    const auto weight = hn::Load(d, tile.weights + at * group_rows() + c), sum = hn::Load(d, out);
    const auto weighs = hn::Ne(weight, hn::Zero(d)); // NaN does
    hn::Store(hn::IfThenElse(weighs, hn::MulAdd(weight, hn::Set(d, value), sum), sum), d, out);
  }
}

/// Adds the tile's values that are no numbers by themselves and leaves zeros for them in `v`: zero,
/// the weight of a hidden key, times one is NaN. `v` holds what `tile.v` is, unless that is the
/// caller's.
inline void part_from_numbers(const piece& of, const query_group& g, key_tile& tile, float* v) {
  const std::size_t cols = tile.head_size;
  if (tile.paired != nullptr) {
    auto* halves = reinterpret_cast<std::byte*>(v)
                   + (tile.v - reinterpret_cast<const std::byte*>(v));
    for (std::size_t i = 0; i < tile.keys; ++i) {
      const auto* row = of.value(static_cast<std::size_t>(tile.key) + i);
      for (std::size_t c = 0; c < cols; ++c)
        if (const float value = value_of(row, dtype::bf16, c); !is_finite(value)) {
          add_alone(g, tile, i, c, value);
          std::memset(halves + i / 2 * tile.v_pitch + 4 * c + 2 * (i % 2), 0, 2);
        }
    }
    for (std::size_t c = 0; tile.keys % 2 != 0 && c < cols; ++c) // of a key behind what is seen
      std::memset(halves + tile.keys / 2 * tile.v_pitch + 4 * c + 2, 0, 2);
    return;
  }
  for (std::size_t i = 0; i < tile.keys; ++i) // upwards: rows of `v` may lie behind their place
    for (std::size_t c = 0; c < cols; ++c) {
      const float value = value_of(tile.v + i * tile.v_pitch, dtype::f32, c);
      if (!is_finite(value))
        add_alone(g, tile, i, c, value);
      v[i * cols + c] = is_finite(value) ? value : 0;
    }
  tile.v = reinterpret_cast<const std::byte*>(v);
  tile.v_pitch = cols * sizeof(float);
}

/// The tile, cut to what the group sees, through the group. `v`: null where all values are numbers.
inline void meet(const piece& of, std::size_t first_row, query_group& g, key_tile tile, float* v) {
  const auto end = std::min(tile.key + static_cast<std::int32_t>(tile.keys), g.last_max);
  const auto begin = std::max(tile.key, g.first_min);
  if (begin >= end)
    return;
  auto skip = static_cast<std::size_t>(begin - tile.key);
  // Pairs stay whole; the mask hides the key in front.
  const std::size_t whole = tile.paired != nullptr ? 2 : 1;
  skip = skip / whole * whole;
  tile.k += skip * tile.k_pitch;
  tile.v += skip / whole * tile.v_pitch;
  tile.key += static_cast<std::int32_t>(skip);
  tile.keys = static_cast<std::size_t>(end - tile.key);
  if (tile.biased)
    load_bias(of, first_row, tile.key, tile.keys, tile.weights);
#if VIVA_BF16_PRODUCTS
  if (tile.paired != nullptr) {
    weigh_any_tile<bf16_products>(g, tile);
    if (v != nullptr)
      part_from_numbers(of, g, tile, v);
    pair_weights(tile);
    return add_values<bf16_products>(g, tile, tile.paired, (tile.keys + 1) / 2);
  }
#endif
  weigh_any_tile<f32_products>(g, tile);
  if (v != nullptr)
    part_from_numbers(of, g, tile, v);
  add_values<f32_products>(g, tile, tile.weights, tile.keys);
}

/// Groups of a piece.
struct group_run {
  query_group* groups;
  std::size_t begin, end;
  bool all_numbers; ///< Whether every value is taken for a number; else one group at a time.
};

/// Tiles of keys [tile.key, last) through groups; `k` and `v` are for rows that are not f32.
inline status meet_all(const piece& of, const group_run& run, key_tile tile, std::int32_t last,
                       float* k, float* v) {
  const bool paired = tile.paired != nullptr;
  for (; tile.key < last; tile.key += tile_keys) {
    const auto at = static_cast<std::size_t>(tile.key);
    tile.keys = std::min<std::size_t>(tile_keys, static_cast<std::size_t>(last - tile.key));
    const auto keys = paired ? side{of.key(at), of.in->k.bytes.row}
                             : tile_side(of, of.in->k, at, tile.keys, k);
    const auto values = paired ? pair_values(of, at, tile.keys, v)
                               : tile_side(of, of.in->v, at, tile.keys, v);
    for (const auto& each : {keys.done, values.done})
      if (!each)
        return each;
    tile.k = keys.data;
    tile.k_pitch = keys.pitch;
    tile.v = values.data;
    tile.v_pitch = values.pitch;
    for (std::size_t i = run.begin; i < run.end; ++i)
      meet(of, i * group_rows(), run.groups[i], tile, run.all_numbers ? nullptr : v);
  }
  return {};
}

/// Opens the piece's groups. The keys that any row sees.
inline attention::key_range open_groups(const piece& of, query_group* groups, std::size_t count,
                                        bool paired) {
  attention::key_range seen{std::numeric_limits<std::int32_t>::max(), 0};
  for (std::size_t i = 0; i < count; ++i) {
    open_group(of, i * group_rows(), paired, groups[i]);
    seen = {std::min(seen.first, groups[i].first_min), std::max(seen.last, groups[i].last_max)};
  }
  return seen;
}

/// Whether some row has sums that are no numbers though all its weights are.
HWY_INLINE bool is_curable(const query_group& g, std::size_t cols) {
  const df32 d;
  auto largest = hn::Zero(di32());
  for (std::size_t c = 0; c < group_rows(); c += lanes()) {
    const auto lost = hn::IsNaN(hn::Load(d, g.sum + c));
    for (std::size_t j = 0; j < cols; ++j) {
      const auto sum = hn::IfThenZeroElse(lost, hn::Load(d, g.out + j * group_rows() + c));
      largest = hn::Max(largest, hn::BitCast(di32(), hn::Abs(sum)));
    }
  }
  return !hn::AllTrue(di32(), hn::Lt(largest, hn::Set(di32(), infinity_bits)));
}

/// Arrays of a piece through groups.
struct group_rooms {
  query_group groups[piece_groups];
  float *weights, *pairs, *tiles, *k, *v;

  group_rooms(std::byte* memory, std::size_t count, std::size_t cols) {
    carver carve{memory};
    for (auto& g : std::span(groups).first(count)) {
      g.queries = carve.take<float>(cols * group_rows());
      g.out = carve.take<float>(cols * group_rows());
      g.max = carve.take<float>(group_rows());
      g.sum = carve.take<float>(group_rows());
      g.part = carve.take<float>(group_rows());
      g.first = carve.take<std::int32_t>(group_rows());
      g.last = carve.take<std::int32_t>(group_rows());
    }
    weights = carve.take<float>(tile_keys * group_rows());
    pairs = carve.take<float>(tile_keys / 2 * group_rows());
    tiles = carve.take<float>(tiles_floats());
    k = carve.take<float>(attention::decoded_rows_max(tile_keys) * cols);
    v = carve.take<float>(attention::decoded_rows_max(tile_keys) * cols);
  }
};

/// `memory` holds groups_bytes(head_size), aligned.
inline status attend_groups(const piece& of, std::byte* memory) {
  const std::size_t cols = of.of->head_size;
  const auto unit = unit_of(of);
  const bool paired = unit != bf16_unit::widened;
  const std::size_t count = (of.rows + group_rows() - 1) / group_rows();
  group_rooms rooms(memory, count, cols);
  const auto seen = open_groups(of, rooms.groups, count, paired);
  key_tile tile{};
  tile.key = seen.first;
  tile.head_size = cols;
  tile.weights = rooms.weights;
  tile.biased = of.in->bias.data != nullptr;
  tile.paired = paired ? rooms.pairs : nullptr;
#if VIVA_BF16_PRODUCTS
  if (unit == bf16_unit::tiles)
    attend_tiles(of, rooms.groups, count, seen, rooms.k, rooms.tiles);
  else
#endif
    if (const auto done =
            meet_all(of, {rooms.groups, 0, count, true}, tile, seen.last, rooms.k, rooms.v);
        !done)
    return done;
  for (std::size_t i = 0; i < count; ++i)
    if (HWY_UNLIKELY(is_curable(rooms.groups[i], cols))) {
      open_group(of, i * group_rows(), paired, rooms.groups[i]);
      if (const auto done =
              meet_all(of, {rooms.groups, i, i + 1, false}, tile, seen.last, rooms.k, rooms.v);
          !done)
        return done;
    }
  for (std::size_t i = 0; i < count; ++i)
    close_group(of, i * group_rows(), rooms.groups[i]);
  return {};
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
