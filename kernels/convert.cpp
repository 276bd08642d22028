#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/convert.cpp"
#include <hwy/foreach_target.h>

#include "kernels/stream-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

void load_f32_simd(const std::byte* in, dtype type, std::size_t count, float* out) {
  with_source(type, [&](auto from) {
    return with_stores(out, count * sizeof(float), [&](auto stores) {
      std::size_t i = 0;
      for (; i + lanes() <= count; i += lanes())
        decltype(stores)::put(load(from, in + i * from.bytes), df32(), out + i);
      load_f32_reference(in + i * from.bytes, type, count - i, out + i);
      return true;
    });
  });
}

namespace {

/// Whole vectors by put(value, place); the rest by the reference.
template <class Put>
HWY_INLINE void store_each(const float* in, dtype type, std::size_t count, std::byte* out,
                           const Put& put) {
  const std::size_t bytes = bytes_of(type);
  std::size_t i = 0;
  for (; i + lanes() <= count; i += lanes())
    put(hn::LoadU(df32(), in + i), out + i * bytes);
  store_f32_reference(in + i, type, count - i, out + i * bytes);
}

} // namespace

void store_f32_simd(const float* in, dtype type, std::size_t count, std::byte* out) {
  if (type == dtype::f32)
    copy_bytes(out, reinterpret_cast<const std::byte*>(in), count * sizeof(float));
  else if (type == dtype::f16)
    store_each(in, type, count, out, [](vf32 x, std::byte* to) {
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
      const hn::Rebind<hwy::float16_t, df32> dh;
      const hn::Rebind<std::uint16_t, df32> d16;
      if (HWY_LIKELY(hn::AllFalse(df32(), hn::IsNaN(x)))) { // of NaN it keeps other bits
        hn::StoreU(hn::BitCast(d16, hn::DemoteTo(dh, x)), d16,
                   reinterpret_cast<std::uint16_t*>(to));
        return;
      }
#endif
      store_u16(f16_bits(x), to);
    });
  else
    store_each(in, type, count, out, [](vf32 x, std::byte* to) { store_u16(bf16_bits(x), to); });
}

/// True where a value of [0, count) has all exponent bits set. `Int` is int32_t or int16_t: signed,
/// because a magnitude never has the top bit and signed maxima exist on every ISA.
template <class Int>
bool any_not_finite(const std::byte* in, std::size_t count, Int infinity) {
  const hn::ScalableTag<Int> d;
  const std::size_t n = hn::Lanes(d);
  const auto mask = hn::Set(d, std::numeric_limits<Int>::max());
  auto max0 = hn::Zero(d);
  auto max1 = hn::Zero(d);
  const auto* x = reinterpret_cast<const Int*>(in);
  std::size_t i = 0;
  for (; i + 2 * n <= count; i += 2 * n) {
    max0 = hn::Max(max0, hn::And(hn::LoadU(d, x + i), mask));
    max1 = hn::Max(max1, hn::And(hn::LoadU(d, x + i + n), mask));
  }
  HWY_ALIGN Int largest[HWY_MAX_BYTES / sizeof(Int)];
  hn::Store(hn::Max(max0, max1), d, largest);
  Int max = *std::max_element(largest, largest + n);
  for (; i < count; ++i)
    max = std::max<Int>(max, load_as<Int>(in + i * sizeof(Int)) & std::numeric_limits<Int>::max());
  return max >= infinity;
}

std::size_t first_not_finite_simd(const std::byte* in, dtype type, std::size_t count) {
  constexpr std::size_t run = 4096; // values looked at between two decisions
  for (std::size_t i = 0; i < count; i += run) {
    const std::size_t n = std::min(run, count - i);
    const std::byte* at = in + i * bytes_of(type);
    const bool found =
        type == dtype::f32
            ? any_not_finite<std::int32_t>(at, n, infinity_bits)
            : any_not_finite<std::int16_t>(at, n, type == dtype::f16 ? 0x7C00 : 0x7F80);
    if (found)
      return i + first_not_finite_reference(at, type, n);
  }
  return count;
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(load_f32_simd);
HWY_EXPORT(store_f32_simd);
HWY_EXPORT(first_not_finite_simd);

void load_f32(const std::byte* in, dtype type, std::size_t count, float* out) noexcept {
  HWY_DYNAMIC_DISPATCH(load_f32_simd)(in, type, count, out);
}

void store_f32(const float* in, dtype type, std::size_t count, std::byte* out) noexcept {
  HWY_DYNAMIC_DISPATCH(store_f32_simd)(in, type, count, out);
}

std::size_t first_not_finite(const std::byte* in, dtype type, std::size_t count) noexcept {
  return HWY_DYNAMIC_DISPATCH(first_not_finite_simd)(in, type, count);
}

void load_f32_reference(const std::byte* in, dtype type, std::size_t count, float* out) noexcept {
  for (std::size_t i = 0; i < count; ++i)
    out[i] = value_of(in, type, i);
}

void store_f32_reference(const float* in, dtype type, std::size_t count, std::byte* out) noexcept {
  for (std::size_t i = 0; i < count; ++i)
    put_value(in[i], type, out, i);
}

std::size_t first_not_finite_reference(const std::byte* in, dtype type,
                                       std::size_t count) noexcept {
  for (std::size_t i = 0; i < count; ++i)
    if (!is_finite(value_of(in, type, i)))
      return i;
  return count;
}

} // namespace viva::kernels
#endif
