// The frame of integers in groups of columns: batches of groups, in cache, as in ggml-inl.hpp.
//
//   A  fold every group (fold-inl.hpp)
//   S  scales, zero points and reciprocals, 4 to 16 groups at a time
//   B  codes, one byte per value
//
// Groups lie one after the other in flat order, since rows are whole groups.

#include "kernels/fold-inl.hpp"
#include "kernels/int8.hpp"
#include "kernels/pack-inl.hpp"

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

inline constexpr std::size_t group_batch_values = 2048; ///< 8 KiB of f32.
inline constexpr std::size_t group_batch = group_batch_values / 32;

/// The scales of a batch.
struct group_scales {
  HWY_ALIGN float scale[group_batch];
  HWY_ALIGN float inverse[group_batch];
  HWY_ALIGN float zero[group_batch] = {};
};

/// Stores exact scales, rounded to the source's type and never zero, and their reciprocals. A
/// reciprocal may be infinite: `group_codes` then divides.
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

/// rint(x / scale + zero), saturated to i8, as bytes. Multiplies by the reciprocal and divides only
/// where the sum lies so near the middle of two codes that the product could have fallen on the
/// other side (int8-inl.hpp says why the distance is safe; with a zero point |x / scale| <= 15, and
/// both sums round alike but for that). `block` is a power of two.
template <class Source>
HWY_INLINE void group_codes(Source from, const std::byte* HWY_RESTRICT in, std::size_t block,
                            std::size_t groups, const group_scales& by,
                            std::int8_t* HWY_RESTRICT out) {
  constexpr float safe_distance = 0.4999f;
  constexpr std::size_t step = 4 * hn::MaxLanes(df32());
  const df32 d;
  const int shift = std::countr_zero(block); // a division for each vector would cost more than it
  for (std::size_t i = 0; i < groups * block; i += step) {
    vf32 x[4];
    vi32 q[4];
    auto distance = hn::Zero(d);
    for (std::size_t k = 0; k < 4; ++k) {
      const std::size_t at = i + k * lanes();
      const std::size_t g = at >> shift;
      x[k] = load(from, in + at * from.bytes);
      const auto t = hn::Add(hn::Mul(x[k], hn::Set(d, by.inverse[g])), hn::Set(d, by.zero[g]));
      q[k] = nearest_i32(t);
      distance = hn::Max(distance, hn::Abs(hn::Sub(t, hn::ConvertTo(d, q[k]))));
    }
    if (HWY_UNLIKELY(!hn::AllTrue(d, hn::Le(distance, hn::Set(d, safe_distance)))))
      for (std::size_t k = 0; k < 4; ++k) {
        const std::size_t g = (i + k * lanes()) >> shift;
        q[k] = nearest_i32(hn::Add(hn::Div(x[k], hn::Set(d, by.scale[g])), hn::Set(d, by.zero[g])));
      }
    hn::Store(pack_i8(q[0], q[1], q[2], q[3]), di8(), out + i);
  }
}

/// Calls encode(in, first group, groups, whole groups) for batches of all groups of `in`; `groups`
/// is a multiple of four. A last batch of fewer than four is padded with zeros, and only the whole
/// ones count. Stops where `encode` says no.
template <class Source, class Encode>
HWY_INLINE status each_group_batch(Source from, const matrix& in, std::size_t block,
                                   const Encode& encode) {
  const std::size_t groups = in.values() / block;
  const std::size_t batch = group_batch_values / block;
  const std::size_t whole = groups / 4 * 4;
  for (std::size_t g = 0; g < whole; g += batch) {
    const std::size_t count = std::min(batch, whole - g);
    if (!encode(in.data + g * block * from.bytes, g, count, count))
      return refuse_not_finite(in);
  }
  if (whole == groups)
    return {};
  HWY_ALIGN std::byte rest[4 * 128 * 4] = {};
  std::memcpy(rest, in.data + whole * block * from.bytes, (groups - whole) * block * from.bytes);
  return encode(rest, whole, 4, groups - whole) ? status{} : refuse_not_finite(in);
}

/// Stores scales, which are exact in the source's type, from scale `at` of a plane on.
inline void put_group_scales(const group_scales& from, std::size_t count, dtype type,
                             std::byte* plane, std::size_t at) {
  for (std::size_t g = 0; g < count; ++g)
    put_value(from.scale[g], type, plane, at + g);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
