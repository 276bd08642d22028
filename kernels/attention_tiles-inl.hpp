// Attention of bf16 by the processor's matrix tiles (AMX), where it has them.
//
// A tile register holds 16 rows of 64 bytes. tdpbf16ps takes 16 keys x 32 columns and 32 columns x
// 16 queries, adds their products to 16 x 16 f32 scores and is ready for the next after 16 cycles:
// 1024 operations a cycle, 16 times f32's multiply-adds. Keys are read where they lie; queries and
// weights are pairs of neighbours, as for vdpbf16ps, and values such pairs turned: (head_size,
// pairs). So S^T = K Q^T and O^T += V^T P^T, as for f32.
//
// A group's scores of a whole tile are known before the first weight, so maxima are raised once a
// tile and weights go to bf16 at once. Of a piece (128 queries, 128 keys, head size 128) products
// take 8200 cycles, 16,400 weights by 19 instructions of 16 lanes some 10,000, turning values 3000.

#include "kernels/attention-inl.hpp"
#include "kernels/attention_bf16-inl.hpp"

#if defined(VIVA_KERNELS_ATTENTION_TILES_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_ATTENTION_TILES_INL
#undef VIVA_KERNELS_ATTENTION_TILES_INL
#else
#define VIVA_KERNELS_ATTENTION_TILES_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

inline constexpr std::size_t tile_rows = 16, tile_step = 32; ///< Keys or columns; those multiplied.

/// Scores of a group, (tile_keys, rows), where tiles are used.
HWY_INLINE constexpr std::size_t tile_scores() {
  return VIVA_BF16_PRODUCTS ? tile_keys * group_rows() : 0;
}

#if VIVA_BF16_PRODUCTS

/// The tile registers of this thread, all of 16 full rows, while this lives.
class tile_registers {
public:
  tile_registers() {
    struct alignas(64) {
      std::uint8_t palette = 1, start_row = 0, reserved[14]{};
      std::uint16_t row_bytes[16]{};
      std::uint8_t rows[16]{};
    } shape;
    static_assert(sizeof shape == 64);
    std::fill_n(shape.row_bytes, 8, std::uint16_t{64});
    std::fill_n(shape.rows, 8, std::uint8_t{tile_rows});
    asm volatile("ldtilecfg %0" : : "m"(shape));
  }
  ~tile_registers() {
    asm volatile("tilerelease");
  }
  tile_registers(const tile_registers&) = delete;
  tile_registers& operator=(const tile_registers&) = delete;
};

template <int Tile>
HWY_INLINE void clear_tile() {
  asm volatile("tilezero %%tmm%c0" : : "i"(Tile));
}
template <int Tile>
HWY_INLINE void load_tile(const void* from, std::size_t pitch) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(pitch), "i"(Tile) : "memory");
}
template <int Tile>
HWY_INLINE void store_tile(void* to, std::size_t pitch) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(pitch), "i"(Tile) : "memory");
}
/// Sum += A B: rows of A, pairs of rows of B.
template <int Sum, int A, int B>
HWY_INLINE void multiply_tiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(Sum), "i"(A), "i"(B));
}

/// Tiles 0 to 3 += two tiles of rows at `a` times a group's 32 queries at `b`, `steps` times 32
/// deep.
HWY_INLINE void add_products(const std::byte* a, std::size_t a_pitch, const float* b,
                             std::size_t steps) {
  constexpr std::size_t b_pitch = group_rows() * sizeof(float);
  static_assert(b_pitch == 128);
  for (std::size_t step = 0; step < steps; ++step) {
    load_tile<4>(a, a_pitch);
    load_tile<6>(b, b_pitch);
    multiply_tiles<0, 4, 6>();
    load_tile<7>(b + tile_rows, b_pitch);
    multiply_tiles<1, 4, 7>();
    load_tile<5>(a + tile_rows * a_pitch, a_pitch);
    multiply_tiles<2, 5, 6>();
    multiply_tiles<3, 5, 7>();
    a += tile_step * sizeof(std::uint16_t);
    b += tile_step / 2 * group_rows();
  }
}

/// Products of the group's queries and the tile's keys; zeros for keys past the last.
HWY_NOINLINE void score_tiles(const query_group& g, const key_tile& tile, float* scores) {
  constexpr std::size_t pitch = group_rows() * sizeof(float);
  alignas(64) std::byte rest[tile_step * 256 * sizeof(std::uint16_t)];
  const std::size_t row = tile.head_size * sizeof(std::uint16_t);
  for (std::size_t key = 0; key < tile.keys; key += tile_step) {
    const std::byte* k = tile.k + key * tile.k_pitch;
    std::size_t k_pitch = tile.k_pitch;
    if (const auto left = tile.keys - key; left < tile_step) { // what follows may be no memory
      std::fill_n(rest, tile_step * row, std::byte{0});
      for (std::size_t r = 0; r < left; ++r)
        std::copy_n(k + r * k_pitch, row, rest + r * row);
      k = rest;
      k_pitch = row;
    }
    clear_tile<0>();
    clear_tile<1>();
    clear_tile<2>();
    clear_tile<3>();
    add_products(k, k_pitch, g.queries, tile.head_size / tile_step);
    float* to = scores + key * group_rows();
    store_tile<0>(to, pitch);
    store_tile<1>(to + tile_rows, pitch);
    store_tile<2>(to + tile_rows * group_rows(), pitch);
    store_tile<3>(to + tile_rows * group_rows() + tile_rows, pitch);
  }
}

/// The highest score above m of each row. Where `Finished`, scores become bits with their bias, and
/// those of keys that a row may not see -inf.
template <bool Finished>
HWY_INLINE void finish_scores(const query_group& g, const key_tile& tile,
                              float* HWY_RESTRICT scores, bool masked,
                              vf32 (&top)[group_vectors]) {
  const df32 d;
  const auto scale = hn::Set(d, g.scale);
  const auto hidden = hn::Set(d, -std::numeric_limits<float>::infinity());
  VIVA_UNROLL(4)
  for (std::size_t c = 0; c < group_vectors; ++c) {
    const auto max = hn::Load(d, g.max + c * lanes());
    const auto first = hn::Load(di32(), g.first + c * lanes());
    const auto last = hn::Load(di32(), g.last + c * lanes());
    auto highest = hidden;
    for (std::size_t key = 0; key < tile.keys; ++key) {
      float* at = scores + key * group_rows() + c * lanes();
      if constexpr (Finished) {
        auto s = hn::Mul(hn::Load(d, at), scale);
        if (tile.biased)
          s = hn::Add(s, hn::Load(d, tile.weights + key * group_rows() + c * lanes()));
        if (masked) {
          const auto k = hn::Set(di32(), tile.key + static_cast<std::int32_t>(key));
          const auto seen = hn::AndNot(hn::Gt(first, k), hn::Gt(last, k));
          s = hn::IfThenElse(hn::RebindMask(d, seen), s, hidden);
        }
        hn::Store(s, d, at);
        highest = hn::Max(highest, hn::Sub(s, max));
      } else {
        highest = hn::Max(highest, hn::MulSub(hn::Load(d, at), scale, max));
      }
    }
    top[c] = highest;
  }
}

/// Weights of the scores and their sums: pairs of bf16 into tile.paired, whole steps of it.
template <bool Finished>
HWY_INLINE void weigh_scores(const query_group& g, const key_tile& tile,
                             const float* HWY_RESTRICT scores) {
  const df32 d;
  const auto scale = hn::Set(d, g.scale);
  const auto mixed = pair_order();
  float* HWY_RESTRICT to = tile.paired;
  vf32 max[group_vectors], sum[group_vectors];
  VIVA_UNROLL(4)
  for (std::size_t c = 0; c < group_vectors; ++c) {
    max[c] = hn::Load(d, g.max + c * lanes());
    sum[c] = hn::Zero(d);
  }
  const auto weight = [&](std::size_t key, std::size_t c) HWY_ATTR {
    const auto s = hn::Load(d, scores + key * group_rows() + c * lanes());
    const auto w = exp2(Finished ? hn::Sub(s, max[c]) : hn::MulSub(s, scale, max[c]));
    sum[c] = hn::Add(sum[c], w);
    return w;
  };
  std::size_t key = 0;
  for (; key + 2 <= tile.keys; key += 2, to += group_rows())
    VIVA_UNROLL(4)
  for (std::size_t c = 0; c < group_vectors; ++c)
    hn::Store(pair_of(weight(key, c), weight(key + 1, c), mixed), d, to + c * lanes());
  if (key < tile.keys) {
    VIVA_UNROLL(4)
    for (std::size_t c = 0; c < group_vectors; ++c)
      hn::Store(pair_of(weight(key, c), hn::Zero(d), mixed), d, to + c * lanes());
    to += group_rows();
  }
  const std::size_t steps = (tile.keys + tile_step - 1) / tile_step;
  std::fill(to, tile.paired + steps * tile_step / 2 * group_rows(), 0.0f);
  VIVA_UNROLL(4)
  for (std::size_t c = 0; c < group_vectors; ++c)
    hn::Store(hn::Add(hn::Load(d, g.sum + c * lanes()), sum[c]), d, g.sum + c * lanes());
}

template <bool Finished>
HWY_NOINLINE void weigh_tiles(query_group& g, const key_tile& tile, float* scores, bool masked) {
  vf32 top[group_vectors], delta[group_vectors];
  finish_scores<Finished>(g, tile, scores, masked, top);
  if (g.unseen || any_climbs(top))
    raise(g, tile, 0, top, delta);
  weigh_scores<Finished>(g, tile, scores);
}

/// out += weights times values, 32 columns at a time.
HWY_NOINLINE void add_value_tiles(const query_group& g, const key_tile& tile) {
  constexpr std::size_t pitch = group_rows() * sizeof(float);
  for (std::size_t col = 0; col < tile.head_size; col += 2 * tile_rows) {
    float* out = g.out + col * group_rows();
    load_tile<0>(out, pitch);
    load_tile<1>(out + tile_rows, pitch);
    load_tile<2>(out + tile_rows * group_rows(), pitch);
    load_tile<3>(out + tile_rows * group_rows() + tile_rows, pitch);
    add_products(tile.v + col * tile.v_pitch, tile.v_pitch, tile.paired,
                 (tile.keys + tile_step - 1) / tile_step);
    store_tile<0>(out, pitch);
    store_tile<1>(out + tile_rows, pitch);
    store_tile<2>(out + tile_rows * group_rows(), pitch);
    store_tile<3>(out + tile_rows * group_rows() + tile_rows, pitch);
  }
}

/// The tile through the group.
inline void meet_tiles(query_group& g, const key_tile& tile, float* scores) {
  const bool masked = tile.key < g.first_max
                      || tile.key + static_cast<std::int32_t>(tile.keys) > g.last_min;
  score_tiles(g, tile, scores);
  if (masked || tile.biased)
    weigh_tiles<true>(g, tile, scores, masked);
  else
    weigh_tiles<false>(g, tile, scores, false);
  add_value_tiles(g, tile);
}

#endif

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
