#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/convert.cpp"
#include <hwy/foreach_target.h>

#include "kernels/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

void load_f32_simd(const std::byte* in, dtype type, std::size_t count, float* out) {
  with_source(type, [&](auto from) {
    std::size_t i = 0;
    for (; i + lanes() <= count; i += lanes())
      hn::StoreU(load(from, in + i * from.bytes), df32(), out + i);
    load_f32_reference(in + i * from.bytes, type, count - i, out + i);
  });
}

void store_f32_simd(const float* in, dtype type, std::size_t count, std::byte* out) {
  std::size_t i = 0;
  for (; i + lanes() <= count; i += lanes()) {
    const auto x = hn::LoadU(df32(), in + i);
    if (type == dtype::f32)
      hn::StoreU(x, df32(), reinterpret_cast<float*>(out + 4 * i));
    else
      store_u16(type == dtype::f16 ? f16_bits(x) : bf16_bits(x), out + 2 * i);
  }
  store_f32_reference(in + i, type, count - i, out + i * bytes_of(type));
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
