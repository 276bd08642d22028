#pragma once

// What device code is made of: values four at a time, words that many lanes meet in, what a run of
// kernels has to report. All of it is VIVA_HD: tests run it on the host, lane by lane.
//
// Code for a device is written in three shapes, and a `Device` (cuda_device.cuh; in tests loops)
// runs them in the order in which they are given:
//   each(count, op)          op(i)
//   teams(count, lanes, op)  op(team, i), see team.hpp
//   tiles(count, op)         op(i, x, record), see tile.hpp
// It also has scratch<T>(count), clear(bytes…), upload(floats) and report().

#include "kernels/registry.hpp"
#include "kernels/scalar.hpp"
#include "kernels/team.hpp"

namespace viva::kernels {

/// What kernels found, in memory that all lanes see.
struct device_report {
  static constexpr unsigned long long none = ~0ull;
  unsigned long long not_finite = none; ///< First position of NaN or infinity.
  unsigned malformed = 0;               ///< Not 0 where a decoder met bytes it refuses.
};

// -- words that many lanes meet in: the order cannot matter -------------------------------------

VIVA_HD inline void lower_to(unsigned long long* at, unsigned long long value) noexcept {
#if defined(__CUDA_ARCH__)
  atomicMin(at, value);
#else
  *at = value < *at ? value : *at;
#endif
}

VIVA_HD inline void raise_to(unsigned* at, unsigned value) noexcept {
#if defined(__CUDA_ARCH__)
  atomicMax(at, value);
#else
  *at = value > *at ? value : *at;
#endif
}

VIVA_HD inline void add_to(unsigned long long* at, unsigned long long value) noexcept {
#if defined(__CUDA_ARCH__)
  atomicAdd(at, value);
#else
  *at += value;
#endif
}

/// Sets bits of one byte. Its aligned word must be the caller's, too.
VIVA_HD inline void set_bits(std::byte* at, unsigned bits) noexcept {
#if defined(__CUDA_ARCH__)
  const auto address = reinterpret_cast<std::uintptr_t>(at);
  atomicOr(reinterpret_cast<unsigned*>(address / 4 * 4), bits << address % 4 * 8);
#else
  *at |= static_cast<std::byte>(bits);
#endif
}

// -- values, four at a time ---------------------------------------------------------------------

/// Values of one type in memory; unaligned allowed, and slow.
template <dtype Type>
struct typed_values {
  static constexpr dtype type = Type;
  const std::byte* data;

  VIVA_HD float one(std::size_t i) const noexcept {
    return value_of(data, Type, i);
  }
  /// Values [i, i + n), n at most 4; the others become 0.
  VIVA_HD void some(std::size_t i, std::size_t n, float* x) const noexcept {
    if (n == 4) {
      four(i, x);
      return;
    }
    for (std::size_t k = 0; k < 4; ++k)
      x[k] = k < n ? one(i + k) : 0.0f;
  }
  VIVA_HD void four(std::size_t i, float* x) const noexcept {
    if constexpr (Type == dtype::f32) {
      struct alignas(16) chunk {
        float x[4];
      };
      const auto values = load_as<chunk>(data + 4 * i);
      for (int k = 0; k < 4; ++k)
        x[k] = values.x[k];
    } else {
      struct alignas(8) chunk {
        std::uint16_t bits[4];
      };
      const auto values = load_as<chunk>(data + 2 * i);
      for (int k = 0; k < 4; ++k)
        x[k] = Type == dtype::f16 ? f32_from_f16(values.bits[k]) : f32_from_bf16(values.bits[k]);
    }
  }
};

/// Calls body(typed_values) of what `data` holds.
template <class Body>
auto with_type(dtype type, const std::byte* data, Body&& body) {
  switch (type) {
  case dtype::f16:
    return body(typed_values<dtype::f16>{data});
  case dtype::bf16:
    return body(typed_values<dtype::bf16>{data});
  case dtype::f32:
    break;
  }
  return body(typed_values<dtype::f32>{data});
}

/// The first n of four f32.
VIVA_HD inline void put_values(const float* x, std::size_t n, float* out) noexcept {
  struct alignas(16) chunk {
    float x[4];
  };
  if (n == 4)
    store_as(chunk{{x[0], x[1], x[2], x[3]}}, reinterpret_cast<std::byte*>(out));
  else
    for (std::size_t k = 0; k < n; ++k)
      out[k] = x[k];
}

/// The first n of four bytes, the first lowest in `four`.
VIVA_HD inline void put_bytes(std::uint32_t four, std::size_t n, std::byte* out) noexcept {
  if (n == 4)
    store_as(four, out);
  else
    for (std::size_t k = 0; k < n; ++k)
      out[k] = static_cast<std::byte>(four >> 8 * k);
}

/// n bytes, at most 4, the first lowest.
VIVA_HD inline std::uint32_t get_bytes(const std::byte* in, std::size_t n) noexcept {
  if (n == 4)
    return load_as<std::uint32_t>(in);
  std::uint32_t four = 0;
  for (std::size_t k = 0; k < n; ++k)
    four |= static_cast<std::uint32_t>(in[k]) << 8 * k;
  return four;
}

} // namespace viva::kernels
