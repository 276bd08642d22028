// The frame of integers in groups of columns: batches of groups, in cache, as in ggml-inl.hpp.
//
//   A  fold every group (fold-inl.hpp)
//   S  scales, zero points and reciprocals, 4 to 16 groups at a time
//   B  codes, two vectors of bytes at a time
//
// Groups lie one after the other in flat order, since rows are whole groups.

#include "kernels/fold-inl.hpp"
#include "kernels/int8.hpp"
#include "kernels/pack-inl.hpp"
#include "kernels/stream-inl.hpp"

#include <bit>
#include <cstring>

#if defined(VIVA_KERNELS_GROUP_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_GROUP_INL
#undef VIVA_KERNELS_GROUP_INL
#else
#define VIVA_KERNELS_GROUP_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// 8 KiB of f32; on AVX-512 half of it, whose figures stand at fp4_batch.
inline constexpr std::size_t group_batch_values = hn::MaxLanes(df32()) >= 16 ? 1024 : 2048;
inline constexpr std::size_t group_batch = group_batch_values / 32;

/// The scales of a batch.
struct group_scales {
  HWY_ALIGN float scale[group_batch];
  HWY_ALIGN float inverse[group_batch];
  HWY_ALIGN float zero[group_batch] = {};
};

/// Stores exact scales, rounded to the source's type and never zero, and their reciprocals. A
/// reciprocal may be infinite: all of the batch is divided then.
template <class Source>
HWY_INLINE void store_group_scale(Source from, vf32 exact, std::size_t at, group_scales& out) {
  const df32 d;
  const auto near = rounded(from, exact);
  const auto scale =
      hn::IfThenElse(hn::Gt(near, hn::Zero(d)), near, hn::Set(d, int8::zero_scale(from.type)));
  hn::Store(scale, d, out.scale + at);
  hn::Store(hn::Div(hn::Set(d, 1.0f), scale), d, out.inverse + at);
}

/// Largest magnitudes of `groups` groups, a multiple of four, in `amax`. False where a value is not
/// finite.
template <class Source>
HWY_INLINE bool fold_group_magnitudes(Source from, const std::byte* HWY_RESTRICT in,
                                      std::size_t block, std::size_t groups,
                                      float* HWY_RESTRICT amax) {
  HWY_ALIGN std::int32_t bits[group_batch] = {};
  fold_blocks<magnitude_fold>(from, in, block, groups, bits);
  auto largest = hn::Zero(di32());
  for (std::size_t g = 0; g < groups; g += lanes()) {
    const auto one = hn::Load(di32(), bits + g);
    largest = hn::Max(largest, one);
    hn::Store(hn::BitCast(df32(), one), df32(), amax + g);
  }
  return hn::AllTrue(di32(), hn::Lt(largest, hn::Set(di32(), infinity_bits)));
}

/// True where a reciprocal is infinite, so that only quotients have the right codes.
HWY_INLINE bool group_divides(const group_scales& by, std::size_t groups) {
  auto largest = hn::Zero(df32());
  for (std::size_t g = 0; g < groups; g += lanes())
    largest = hn::Max(largest, hn::Load(df32(), by.inverse + g));
  return !hn::AllTrue(df32(), hn::Lt(largest, hn::Set(df32(), float_of(infinity_bits))));
}

/// The codes of four vectors from value `i` of a batch on. Multiplies by the reciprocal and divides
/// only where the sum lies so near the middle of two codes that the product could have fallen on
/// the other side (int8-inl.hpp says why the distance is safe; with a zero point |x / scale| <= 15,
/// and both sums round alike but for that).
template <bool Zeros, class Source>
HWY_INLINE vi8 group_step_codes(Source from, const std::byte* HWY_RESTRICT in, std::size_t i,
                                int block_shift, const group_scales& by, bool divides) {
  constexpr float safe_distance = 0.4999f;
  const df32 d;
  const auto shifted = [&](vf32 t, std::size_t g) {
    return Zeros ? hn::Add(t, hn::Set(d, by.zero[g])) : t;
  };
  vf32 x[4];
  vi32 q[4];
  auto distance = hn::Zero(d);
  VIVA_UNROLL(4)
  for (std::size_t k = 0; k < 4; ++k) {
    const std::size_t at = i + k * lanes();
    const std::size_t g = at >> block_shift;
    x[k] = load(from, in + at * from.bytes);
    const auto t = shifted(hn::Mul(x[k], hn::Set(d, by.inverse[g])), g);
    q[k] = nearest_i32(t);
    distance = hn::Max(distance, hn::Abs(beside_nearest(t, q[k])));
  }
  if (HWY_UNLIKELY(divides || !hn::AllTrue(d, hn::Le(distance, hn::Set(d, safe_distance)))))
    VIVA_UNROLL(4)
    for (std::size_t k = 0; k < 4; ++k) {
      const std::size_t g = (i + k * lanes()) >> block_shift;
      q[k] = nearest_i32(shifted(hn::Div(x[k], hn::Set(d, by.scale[g])), g));
    }
  return pack_i8(q[0], q[1], q[2], q[3]);
}

/// rint(x / scale + zero), saturated to i8, of a batch: put(i, codes, codes) takes two vectors of
/// codes from value `i` on. `block` is a power of two; values are a multiple of 128.
template <bool Zeros, class Source, class Put>
HWY_INLINE void group_codes(Source from, const std::byte* HWY_RESTRICT in, std::size_t block,
                            std::size_t groups, const group_scales& by, const Put& put) {
  constexpr std::size_t step = 4 * hn::MaxLanes(df32());
  const int shift = std::countr_zero(block); // a division for each vector would cost more than it
  const bool divides = group_divides(by, groups);
  for (std::size_t i = 0; i < groups * block; i += 2 * step) {
    prefetch_ahead(in + i * from.bytes, 2 * step * from.bytes);
    const auto lower = group_step_codes<Zeros>(from, in, i, shift, by, divides);
    put(i, lower, group_step_codes<Zeros>(from, in, i + step, shift, by, divides));
  }
}

/// Calls encode(stores, in, first group, groups, whole groups, codes) for batches of all groups of
/// `in`, whose codes are `PerByte` values to a byte; `groups` is a multiple of four. A last batch
/// of fewer than four is padded with zeros, and only the whole ones count. Stops where `encode`
/// says no.
template <std::size_t PerByte, class Source, class Encode>
HWY_INLINE status each_group_batch(Source from, const matrix& in, std::size_t block,
                                   std::byte* codes, const Encode& encode) {
  const std::size_t groups = in.values() / block;
  const std::size_t batch = group_batch_values / block;
  const std::size_t whole = groups / 4 * 4;
  const bool finite = with_stores(codes, whole * block / PerByte, [&](auto stores) {
    for (std::size_t g = 0; g < whole; g += batch) {
      const std::size_t count = std::min(batch, whole - g);
      if (!encode(stores, in.data + g * block * from.bytes, g, count, count,
                  codes + g * block / PerByte))
        return false;
    }
    return true;
  });
  if (!finite)
    return refuse_not_finite(in);
  const std::size_t rest = groups - whole;
  if (rest == 0)
    return {};
  HWY_ALIGN std::byte rest_in[4 * 128 * 4] = {};
  HWY_ALIGN std::byte rest_codes[4 * 128];
  std::memcpy(rest_in, in.data + whole * block * from.bytes, rest * block * from.bytes);
  if (!encode(cached_stores{}, rest_in, whole, 4, rest, rest_codes))
    return refuse_not_finite(in);
  std::memcpy(codes + whole * block / PerByte, rest_codes, rest * block / PerByte);
  return {};
}

/// Stores scales, which are exact in the source's type, from scale `at` of a plane on.
template <class Source>
HWY_INLINE void put_group_scales(Source from, const group_scales& by, std::size_t count,
                                 std::byte* plane, std::size_t at) {
  HWY_ALIGN std::byte bits[group_batch * 4];
  const std::byte* exact = reinterpret_cast<const std::byte*>(by.scale);
  if constexpr (Source::type != dtype::f32) {
    for (std::size_t g = 0; g < count; g += lanes()) {
      const auto v = hn::Load(df32(), by.scale + g);
      store_u16(Source::type == dtype::f16 ? f16_bits(v) : bf16_bits(v), bits + 2 * g);
    }
    exact = bits;
  }
  std::memcpy(plane + at * from.bytes, exact, count * from.bytes);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
