#include "kernels/convert.hpp"

#include <bit>
#include <cmath>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/convert.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void load_bf16(const std::uint16_t* in, std::size_t count, float* out) {
  const hn::ScalableTag<float> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  const hn::Rebind<std::uint16_t, decltype(d)> d16;
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d))
    hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(d16, in + i)))), d,
               out + i);
  for (; i < count; ++i)
    out[i] = f32_from_bf16(in[i]);
}

void load_f16(const std::uint16_t* in, std::size_t count, float* out) {
  const hn::ScalableTag<float> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> d16;
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) {
    const auto half = hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(in + i));
    hn::StoreU(hn::PromoteTo(d, half), d, out + i);
  }
  for (; i < count; ++i)
    out[i] = f32_from_f16(in[i]);
}

// Integer lanes: NaN and infinity are those whose magnitude bits reach the exponent's all-ones.
std::size_t finite_run_f32(const std::uint32_t* in, std::size_t count) {
  const hn::ScalableTag<std::uint32_t> d;
  const hn::RebindToSigned<decltype(d)> di; // magnitudes fit a signed compare on every ISA
  const auto mask = hn::Set(di, 0x7fffffff);
  const auto limit = hn::Set(di, 0x7f7fffff);
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d))
    if (!hn::AllFalse(di, hn::Gt(hn::And(hn::BitCast(di, hn::LoadU(d, in + i)), mask), limit)))
      break;
  return i;
}

std::size_t finite_run_16(const std::uint16_t* in, std::size_t count, std::uint16_t largest) {
  const hn::ScalableTag<std::int16_t> d;
  const auto mask = hn::Set(d, 0x7fff);
  const auto limit = hn::Set(d, static_cast<std::int16_t>(largest));
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) {
    const auto v = hn::LoadU(d, reinterpret_cast<const std::int16_t*>(in + i));
    if (!hn::AllFalse(d, hn::Gt(hn::And(v, mask), limit)))
      break;
  }
  return i;
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(load_bf16);
HWY_EXPORT(load_f16);
HWY_EXPORT(finite_run_f32);
HWY_EXPORT(finite_run_16);

float f32_from_bf16(std::uint16_t bits) noexcept {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

float f32_from_f16(std::uint16_t bits) noexcept {
  const std::uint32_t sign = std::uint32_t{bits & 0x8000u} << 16;
  const std::uint32_t exponent = bits >> 10 & 31;
  const std::uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 31)
    return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent == 0) { // zero or subnormal: mantissa * 2^-24, exact in f32
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

std::uint16_t bf16_from_f32(float x) noexcept {
  const auto u = std::bit_cast<std::uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u)
    return static_cast<std::uint16_t>(u >> 16 | 64); // quiet, or a truncated payload is infinity
  return static_cast<std::uint16_t>((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

std::uint16_t f16_from_f32(float x) noexcept {
  const auto u = std::bit_cast<std::uint32_t>(x);
  const auto sign = static_cast<std::uint16_t>(u >> 16 & 0x8000u);
  const std::uint32_t magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u)
    return sign | 0x7e00u;
  if (magnitude >= 0x477ff000u) // rounds to 65536 or more
    return sign | 0x7c00u;
  if (magnitude < 0x38800000u) { // below 2^-14: a multiple of 2^-24
    const float steps = std::nearbyint(std::bit_cast<float>(magnitude) * 0x1p24f);
    return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(steps));
  }
  const std::uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

void load_f32(const std::byte* in, dtype type, std::size_t count, float* out) noexcept {
  if (count == 0)
    return;
  if (type == dtype::f32) {
    std::memcpy(out, in, count * sizeof(float));
    return;
  }
  if (reinterpret_cast<std::uintptr_t>(in) % 2 != 0) { // odd address: through an aligned copy
    std::uint16_t copy[1024];
    for (std::size_t i = 0; i < count; i += 1024) {
      const auto n = count - i < 1024 ? count - i : 1024;
      std::memcpy(copy, in + 2 * i, 2 * n);
      load_f32(reinterpret_cast<const std::byte*>(copy), type, n, out + i);
    }
    return;
  }
  const auto* bits = reinterpret_cast<const std::uint16_t*>(in);
  if (type == dtype::bf16)
    HWY_DYNAMIC_DISPATCH(load_bf16)(bits, count, out);
  else
    HWY_DYNAMIC_DISPATCH(load_f16)(bits, count, out);
}

void store_f32(const float* in, dtype type, std::size_t count, std::byte* out) noexcept {
  if (count == 0)
    return;
  if (type == dtype::f32) {
    std::memcpy(out, in, count * sizeof(float));
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const auto bits = type == dtype::bf16 ? bf16_from_f32(in[i]) : f16_from_f32(in[i]);
    std::memcpy(out + 2 * i, &bits, 2);
  }
}

std::size_t first_not_finite(const std::byte* in, dtype type, std::size_t count) noexcept {
  constexpr std::size_t piece = 1024; // an aligned copy of this many values at a time
  const std::uint16_t largest = type == dtype::bf16 ? 0x7f7f : 0x7bff;
  alignas(64) std::uint32_t copy[piece];
  const auto* halves = reinterpret_cast<const std::uint16_t*>(copy);
  for (std::size_t i = 0; i < count; i += piece) {
    const auto n = count - i < piece ? count - i : piece;
    std::memcpy(copy, in + i * bytes_of(type), n * bytes_of(type));
    const bool wide = type == dtype::f32;
    std::size_t j = wide ? HWY_DYNAMIC_DISPATCH(finite_run_f32)(copy, n)
                         : HWY_DYNAMIC_DISPATCH(finite_run_16)(halves, n, largest);
    for (; j < n; ++j)
      if (wide ? (copy[j] & 0x7fffffffu) > 0x7f7fffffu : (halves[j] & 0x7fff) > largest)
        return i + j;
  }
  return count;
}

} // namespace viva::kernels
#endif // HWY_ONCE
