#pragma once

// What every reference path is written in: one value at a time, from any dtype, to bytes that may
// be unaligned. Slow and obvious. VIVA_HD functions are what the device path is written in, too.

#include "kernels/convert.hpp"
#include "kernels/error.hpp"

#include <cstring>

namespace viva::kernels {

template <class T>
VIVA_HD T load_as(const std::byte* from) noexcept {
#if defined(__CUDA_ARCH__) // a memcpy from anywhere is one load a byte
  if (reinterpret_cast<std::uintptr_t>(from) % alignof(T) == 0)
    return *reinterpret_cast<const T*>(from);
#endif
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class T>
VIVA_HD void store_as(T value, std::byte* to) noexcept {
#if defined(__CUDA_ARCH__)
  if (reinterpret_cast<std::uintptr_t>(to) % alignof(T) == 0) {
    *reinterpret_cast<T*>(to) = value;
    return;
  }
#endif
  std::memcpy(to, &value, sizeof value);
}

/// memcpy that takes null pointers for no bytes.
inline void copy_bytes(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
  if (bytes != 0)
    std::memcpy(to, from, bytes);
}

/// Value `i`, in flat order, of `count` values of `type` at `data`.
VIVA_HD inline float value_of(const std::byte* data, dtype type, std::size_t i) noexcept {
  if (type == dtype::f32)
    return load_as<float>(data + 4 * i);
  const auto bits = load_as<std::uint16_t>(data + 2 * i);
  return type == dtype::f16 ? f32_from_f16(bits) : f32_from_bf16(bits);
}

VIVA_HD inline float value_of(const matrix& in, std::size_t i) noexcept {
  return value_of(in.data, in.type, i);
}

/// Stores `x`, rounded to `type`, as value `i`.
VIVA_HD inline void put_value(float x, dtype type, std::byte* data, std::size_t i) noexcept {
  if (type == dtype::f32)
    store_as(x, data + 4 * i);
  else
    store_as(type == dtype::f16 ? f16_from_f32(x) : bf16_from_f32(x), data + 2 * i);
}

/// Largest magnitude of values [first, first + count). NaN is the caller's affair.
inline float magnitude_max(const matrix& in, std::size_t first, std::size_t count) noexcept {
  float max = 0;
  for (std::size_t i = first; i < first + count; ++i) {
    const float a = magnitude(value_of(in, i));
    max = a > max ? a : max;
  }
  return max;
}

/// The value of largest magnitude among [first, first + count); the first of equals.
inline float extreme_of(const matrix& in, std::size_t first, std::size_t count) noexcept {
  float extreme = 0;
  for (std::size_t i = first; i < first + count; ++i) {
    const float x = value_of(in, i);
    extreme = magnitude(x) > magnitude(extreme) ? x : extreme;
  }
  return extreme;
}

/// The same of `count` values as f32.
VIVA_HD inline float magnitude_max(const float* x, std::size_t count) noexcept {
  float max = 0;
  for (std::size_t i = 0; i < count; ++i)
    max = magnitude(x[i]) > max ? magnitude(x[i]) : max;
  return max;
}
VIVA_HD inline float extreme_of(const float* x, std::size_t count) noexcept {
  float extreme = 0;
  for (std::size_t i = 0; i < count; ++i)
    extreme = magnitude(x[i]) > magnitude(extreme) ? x[i] : extreme;
  return extreme;
}

/// `not_finite` with the first position, or ok. For SIMD paths that met one somewhere.
inline status refuse_not_finite(const matrix& in) noexcept {
  const auto at = first_not_finite(in.data, in.type, in.values());
  return at == in.values() ? status{} : status{errc::not_finite, at};
}

/// The same, by the reference.
inline status refuse_not_finite_reference(const matrix& in) noexcept {
  const auto at = first_not_finite_reference(in.data, in.type, in.values());
  return at == in.values() ? status{} : status{errc::not_finite, at};
}

} // namespace viva::kernels
