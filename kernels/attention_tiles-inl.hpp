// Attention of bf16 by the processor's matrix tiles (AMX), where it has them.
//
// A tile register holds 16 rows of 64 bytes. tdpbf16ps takes 16 keys x 32 columns and 32 columns x
// 16 queries, adds their products to 16 x 16 f32 scores and is ready for the next after 16 cycles:
// 1024 operations a cycle, 16 times f32's multiply-adds. Keys are read where they lie; queries and
// weights are pairs of neighbours, as for vdpbf16ps, and values are turned: (head_size, keys). So
// S^T = K Q^T and O^T += V^T P^T, as for f32.
//
// A unit is a group's 32 queries and a block of 32 keys. While its 1024 scores become weights
// (64 vectors, 14 instructions each) the tiles multiply the scores of the next unit and some sums
// of values that wait: where the processor can, it does both at once, as their instructions lie
// side by side. Two groups meet a block before the next one, so that both find it in the first
// cache. Sums of values wait until all units of both groups and a tile have weights.
//
// Measured on Emerald Rapids beside other work, head size 128: of a unit's 2.0 us the tiles need
// 1.04 (32 products of 16.7 ns and 32 loads of 12.2, which do not overlap there, 4 stores, and 8
// loads and stores of sums), weights 0.2 by the count of their instructions.

#include "kernels/attention-inl.hpp"
#include "kernels/attention_bf16-inl.hpp"

#include <algorithm>

#if defined(VIVA_KERNELS_ATTENTION_TILES_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_ATTENTION_TILES_INL
#undef VIVA_KERNELS_ATTENTION_TILES_INL
#else
#define VIVA_KERNELS_ATTENTION_TILES_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

inline constexpr std::size_t tile_rows = 16, tile_step = 32; ///< Keys or columns; those multiplied.
inline constexpr std::size_t tile_blocks = tile_keys / tile_step;

/// What tiles need besides groups: weights of two tiles of keys, scores of two units, their bias.
HWY_INLINE constexpr std::size_t tiles_floats() {
  return VIVA_BF16_PRODUCTS
             ? (2 * piece_groups * tile_keys / 2 + 2 * tile_step + tile_step) * group_rows()
             : 0;
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

/// 32 rows at `a` times a group's 32 queries at `b`, `steps` times 32 deep, into `to`, (32, rows).
struct tile_product {
  const std::byte* a;
  std::size_t a_pitch;
  const float* b;
  std::size_t steps;
  float* to;
  bool adds; ///< To what is there.

  static constexpr std::size_t pitch = group_rows() * sizeof(float);

  HWY_INLINE void begin() const {
    static_assert(pitch == 128);
    if (!adds) {
      clear_tile<0>();
      clear_tile<1>();
      clear_tile<2>();
      clear_tile<3>();
      return;
    }
    load_tile<0>(to, pitch);
    load_tile<1>(to + tile_rows, pitch);
    load_tile<2>(to + tile_rows * group_rows(), pitch);
    load_tile<3>(to + tile_rows * group_rows() + tile_rows, pitch);
  }
  HWY_INLINE void step(std::size_t i) const {
    const std::byte* rows = a + i * tile_step * sizeof(std::uint16_t);
    const float* queries = b + i * tile_step / 2 * group_rows();
    load_tile<4>(rows, a_pitch);
    load_tile<6>(queries, pitch);
    multiply_tiles<0, 4, 6>();
    load_tile<7>(queries + tile_rows, pitch);
    multiply_tiles<1, 4, 7>();
    load_tile<5>(rows + tile_rows * a_pitch, a_pitch);
    multiply_tiles<2, 5, 6>();
    multiply_tiles<3, 5, 7>();
  }
  HWY_INLINE void end() const {
    store_tile<0>(to, pitch);
    store_tile<1>(to + tile_rows, pitch);
    store_tile<2>(to + tile_rows * group_rows(), pitch);
    store_tile<3>(to + tile_rows * group_rows() + tile_rows, pitch);
  }
  void run() const {
    begin();
    for (std::size_t i = 0; i < steps; ++i)
      step(i);
    end();
  }
};

/// The highest score above m of each row. Where `Finished`, scores become bits with their bias, and
/// those of keys that a row may not see -inf.
template <bool Finished>
HWY_INLINE void finish_scores(const query_group& g, std::int32_t key, const float* bias,
                              float* HWY_RESTRICT scores, vf32 (&top)[group_vectors]) {
  const df32 d;
  const auto scale = hn::Set(d, g.scale);
  const auto hidden = hn::Set(d, -std::numeric_limits<float>::infinity());
  vf32 max[group_vectors], odd[group_vectors];
  vi32 first[group_vectors], last[group_vectors];
  VIVA_UNROLL(4)
  for (std::size_t c = 0; c < group_vectors; ++c) {
    max[c] = hn::Load(d, g.max + c * lanes());
    first[c] = hn::Load(di32(), g.first + c * lanes());
    last[c] = hn::Load(di32(), g.last + c * lanes());
    top[c] = odd[c] = hidden;
  }
  const auto finish = [&](std::size_t i, std::size_t c) HWY_ATTR {
    float* at = scores + i * group_rows() + c * lanes();
    if constexpr (!Finished)
      return hn::MulSub(hn::Load(d, at), scale, max[c]);
    auto s = hn::Mul(hn::Load(d, at), scale);
    if (bias != nullptr)
      s = biased(s, hn::Load(d, bias + i * group_rows() + c * lanes()));
    const auto k = hn::Set(di32(), key + static_cast<std::int32_t>(i));
    const auto seen = hn::AndNot(hn::Gt(first[c], k), hn::Gt(last[c], k));
    s = hn::IfThenElse(hn::RebindMask(d, seen), s, hidden);
    hn::Store(s, d, at);
    return hn::Sub(s, max[c]);
  };
  for (std::size_t i = 0; i < tile_step; i += 2)
    VIVA_UNROLL(4)
  for (std::size_t c = 0; c < group_vectors; ++c) {
    top[c] = hn::Max(top[c], finish(i, c));
    odd[c] = hn::Max(odd[c], finish(i + 1, c));
  }
  VIVA_UNROLL(4)
  for (std::size_t c = 0; c < group_vectors; ++c)
    top[c] = hn::Max(top[c], odd[c]);
}

/// Weights of a unit's scores as pairs of bf16, (16, rows), and their sums; meanwhile `products`.
template <bool Finished>
HWY_INLINE void weigh_scores(const query_group& g, const float* HWY_RESTRICT scores,
                             float* HWY_RESTRICT to, const tile_product* products,
                             std::size_t count) {
  const df32 d;
  const auto scale = hn::Set(d, g.scale);
  const auto mixed = pair_order();
  vf32 max[group_vectors], sum[group_vectors];
  VIVA_UNROLL(4)
  for (std::size_t c = 0; c < group_vectors; ++c) {
    max[c] = hn::Load(d, g.max + c * lanes());
    sum[c] = hn::Zero(d);
  }
  // GCC would make functions of these, and memory of the sums.
  const auto weight = [&](std::size_t key, std::size_t c) HWY_ATTR __attribute__((always_inline)) {
    const auto s = hn::Load(d, scores + key * group_rows() + c * lanes());
    const auto w =
        exp2_for_bf16(Finished ? hn::Sub(s, max[c]) : hn::MulSub(s, scale, max[c]));
    sum[c] = hn::Add(sum[c], w);
    return w;
  };
  constexpr std::size_t pairs = tile_step / 2;
  std::size_t pair = 0;
  const auto weigh_until = [&](std::size_t end) HWY_ATTR __attribute__((always_inline)) {
    for (; pair < end; ++pair)
      VIVA_UNROLL(4)
    for (std::size_t c = 0; c < group_vectors; ++c)
      hn::Store(pair_of(weight(2 * pair, c), weight(2 * pair + 1, c), mixed), d,
                to + pair * group_rows() + c * lanes());
  };
  std::size_t all = 1, met = 0; // the last share, while the last sums are stored
  for (std::size_t i = 0; i < count; ++i)
    all += products[i].steps;
  for (std::size_t i = 0; i < count; ++i) {
    const auto product = products[i];
    product.begin();
    for (std::size_t step = 0; step < product.steps; ++step) {
      product.step(step);
      weigh_until(++met * pairs / all);
    }
    product.end();
  }
  weigh_until(pairs);
  VIVA_UNROLL(4)
  for (std::size_t c = 0; c < group_vectors; ++c)
    hn::Store(hn::Add(hn::Load(d, g.sum + c * lanes()), sum[c]), d, g.sum + c * lanes());
}

/// 16 bytes of each lane to rows that are eight apart.
template <class V>
HWY_INLINE void store_lanes(V v, std::uint16_t* to) {
  constexpr std::size_t apart = 8 * tile_keys;
  const auto at = [to](std::size_t lane) { return reinterpret_cast<__m128i*>(to + lane * apart); };
  _mm_storeu_si128(at(0), _mm512_castsi512_si128(v.raw));
  _mm_storeu_si128(at(1), _mm512_extracti32x4_epi32(v.raw, 1));
  _mm_storeu_si128(at(2), _mm512_extracti32x4_epi32(v.raw, 2));
  _mm_storeu_si128(at(3), _mm512_extracti32x4_epi32(v.raw, 3));
}

/// Values of keys [first, first + count) turned into `to`: (head_size, tile_keys) of bf16, zeros
/// past the last of whole blocks.
inline void turn_values(const attention::piece& of, std::size_t first, std::size_t count,
                        float* to) {
  const hn::Repartition<std::uint16_t, df32> d16;
  const hn::Repartition<std::uint32_t, df32> d32;
  const hn::Repartition<std::uint64_t, df32> d64;
  using halves = hn::Vec<decltype(d16)>;
  constexpr std::size_t lane_values = 8; // of 16 bytes, in which vectors interleave
  auto* out = reinterpret_cast<std::uint16_t*>(to);
  const std::size_t end = (count + tile_step - 1) / tile_step * tile_step;
  for (std::size_t key = 0; key < end; key += lane_values)
    for (std::size_t col = 0; col < of.of->head_size; col += 2 * lanes()) {
      halves rows[lane_values], pairs[lane_values], quads[lane_values];
      VIVA_UNROLL(8)
      for (std::size_t i = 0; i < lane_values; ++i) {
        const auto* at = reinterpret_cast<const std::uint16_t*>(
            of.value(first + std::min(key + i, count - 1)));
        rows[i] = hn::LoadU(d16, at + col);
        if (key + i >= count)
          rows[i] = hn::Zero(d16);
      }
      // Keys 2i and 2i + 1 of columns 0 to 3 of each lane, and of 4 to 7.
      VIVA_UNROLL(4)
      for (std::size_t i = 0; i < 4; ++i) {
        pairs[i] = hn::InterleaveLower(d16, rows[2 * i], rows[2 * i + 1]);
        pairs[i + 4] = hn::InterleaveUpper(d16, rows[2 * i], rows[2 * i + 1]);
      }
      // Keys 4i to 4i + 3 of columns 0 and 1; 2 and 3; 4 and 5; 6 and 7.
      VIVA_UNROLL(4)
      for (std::size_t i = 0; i < 4; ++i) {
        const auto a = hn::BitCast(d32, pairs[2 * i]), b = hn::BitCast(d32, pairs[2 * i + 1]);
        const std::size_t at = i / 2 * 4 + i % 2;
        quads[at] = hn::BitCast(d16, hn::InterleaveLower(d32, a, b));
        quads[at + 2] = hn::BitCast(d16, hn::InterleaveUpper(d32, a, b));
      }
      VIVA_UNROLL(4)
      for (std::size_t i = 0; i < 4; ++i) {
        const auto a = hn::BitCast(d64, quads[2 * i]), b = hn::BitCast(d64, quads[2 * i + 1]);
        store_lanes(hn::InterleaveLower(d64, a, b), out + (col + 2 * i) * tile_keys + key);
        store_lanes(hn::InterleaveUpper(d64, a, b), out + (col + 2 * i + 1) * tile_keys + key);
      }
    }
}

#endif

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
