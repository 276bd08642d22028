// Attention of bf16 by the processor's own dot products of pairs, where it has them.
//
// vdpbf16ps multiplies pairs of bf16 and adds both products to f32: twice the operations of f32 in
// one instruction. Queries and keys are pairs of neighbouring columns, weights and values pairs of
// neighbouring keys. Weights are rounded to bf16, which is most of the error (2e-3 of out,
// norm-wise).

#include "kernels/attention-inl.hpp"
#include "kernels/attention_piece.hpp"
#include "kernels/bf16_unit.hpp"

#if defined(VIVA_KERNELS_ATTENTION_BF16_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_ATTENTION_BF16_INL
#undef VIVA_KERNELS_ATTENTION_BF16_INL
#else
#define VIVA_KERNELS_ATTENTION_BF16_INL
#endif

// Highway 1.0.3 has no such operation, so the instructions are spelled out.
#undef VIVA_BF16_PRODUCTS
#if HWY_TARGET == HWY_AVX3_DL && defined(__GNUC__)
#define VIVA_BF16_PRODUCTS 1
#else
#define VIVA_BF16_PRODUCTS 0
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// Rows of one side of a tile; or why there are none.
struct side {
  const std::byte* data;
  std::size_t pitch;
  status done{};
};

/// What multiplies a piece: another unit than f32's where all of it is bf16, and tiles where their
/// steps of 32 columns are whole.
HWY_INLINE bf16_unit unit_of(const attention::piece& of) {
  const auto plain = [](const attention::source_rows& rows) {
    return rows.type == dtype::bf16 && rows.encoded == nullptr;
  };
  if (!VIVA_BF16_PRODUCTS || !plain(of.in->q) || !plain(of.in->k) || !plain(of.in->v))
    return bf16_unit::widened;
  const auto unit = bf16_unit_in_use();
  return unit == bf16_unit::tiles && of.of->head_size % 32 != 0 ? bf16_unit::widened : unit;
}

/// Values of keys [first, first + count) into `to` as (pairs, head_size), a zero row behind an odd
/// last one.
inline side pair_values(const attention::piece& of, std::size_t first, std::size_t count,
                        float* HWY_RESTRICT to) {
  const std::size_t cols = of.of->head_size;
  const hn::CappedTag<std::uint32_t, 8> d; // every head size is whole vectors of 8
  const hn::Rebind<std::uint16_t, decltype(d)> d16;
  auto* out = reinterpret_cast<std::uint32_t*>(to);
  for (std::size_t key = 0; key < count; key += 2, out += cols) {
    const auto* low = reinterpret_cast<const std::uint16_t*>(of.value(first + key));
    const bool both = key + 1 < count;
    const auto* high =
        both ? reinterpret_cast<const std::uint16_t*>(of.value(first + key + 1)) : low;
    const auto keep = hn::Set(d, both ? 0xFFFF0000u : 0u);
    for (std::size_t c = 0; c < cols; c += hn::Lanes(d)) {
      const auto a = hn::PromoteTo(d, hn::LoadU(d16, low + c));
      const auto b = hn::ShiftLeft<16>(hn::PromoteTo(d, hn::LoadU(d16, high + c)));
      hn::StoreU(hn::Or(a, hn::And(b, keep)), d, out + c);
    }
  }
  return {reinterpret_cast<const std::byte*>(to), cols * sizeof(float)};
}

#if VIVA_BF16_PRODUCTS

struct bf16_products {
  static constexpr std::size_t columns = 2;
  static HWY_INLINE vf32 start(vf32) {
    return hn::Zero(df32());
  }
  /// Rounding a scaled query would cost more than scaling the score.
  static HWY_INLINE vf32 finish(const query_group& g, vf32 score, vf32 max) {
    return hn::MulSub(score, hn::Set(df32(), g.scale), max);
  }
  static HWY_INLINE vf32 add(vf32 a, vf32 b, vf32 sum) {
    asm("vdpbf16ps %[b], %[a], %[sum]" : [sum] "+v"(sum.raw) : [a] "v"(a.raw), [b] "v"(b.raw));
    return sum;
  }
};

using pair_halves = hn::Vec<hn::Repartition<std::uint16_t, df32>>;

/// Of the halves that the conversion leaves apart.
HWY_INLINE pair_halves pair_order() {
  const hn::Repartition<std::uint16_t, df32> d16;
  HWY_ALIGN std::uint16_t order[2 * lanes()];
  for (std::size_t i = 0; i < 2 * lanes(); ++i)
    order[i] = static_cast<std::uint16_t>(i / 2 + i % 2 * lanes());
  return hn::Load(d16, order);
}

/// Each lane's two values, rounded to bf16, `low` in the lower half.
HWY_INLINE vf32 pair_of(vf32 low, vf32 high, pair_halves mixed) {
  auto pair = low;
  asm("vcvtne2ps2bf16 %[low], %[high], %[pair]"
      : [pair] "=v"(pair.raw)
      : [low] "v"(low.raw), [high] "v"(high.raw));
  asm("vpermw %[pair], %[mixed], %[pair]" : [pair] "+v"(pair.raw) : [mixed] "v"(mixed.raw));
  return pair;
}

/// The tile's weights as pairs of neighbouring keys, (pairs, rows); a zero behind an odd last one.
inline void pair_weights(const key_tile& tile) {
  const df32 d;
  const auto mixed = pair_order();
  for (std::size_t key = 0; key < tile.keys; key += 2)
    for (std::size_t c = 0; c < group_rows(); c += lanes()) {
      const float* at = tile.weights + key * group_rows() + c;
      const auto low = hn::Load(d, at);
      const auto high = key + 1 < tile.keys ? hn::Load(d, at + group_rows()) : hn::Zero(d);
      hn::Store(pair_of(low, high, mixed), d, tile.paired + key / 2 * group_rows() + c);
    }
}

#endif

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
