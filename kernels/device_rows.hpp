#pragma once

// 8-bit codes on a device: int8, int8-tensor, int8-group, fp8 and fp8-tensor. Each rule is its
// method's own functions (int8.hpp, fp8.hpp) on four values at a time.

#include "kernels/device_runs.hpp"
#include "kernels/fp8.hpp"
#include "kernels/int8.hpp"

namespace viva::kernels {

/// How f32 values become bytes by a scale, and back.
struct int8_byte {
  static constexpr bool short_runs = false;
  VIVA_HD static float scale(float amax, dtype source) noexcept {
    return int8::scale_of(amax, source);
  }
  VIVA_HD static std::uint8_t code(float x, float scale) noexcept {
    return static_cast<std::uint8_t>(int8::code_of(x, scale));
  }
  VIVA_HD static bool value(std::uint8_t code, float scale, float& x) noexcept {
    x = static_cast<float>(static_cast<std::int8_t>(code)) * scale;
    return true;
  }
};

/// int8-group's: code + 128.
struct offset_byte : int8_byte {
  static constexpr bool short_runs = true;
  VIVA_HD static std::uint8_t code(float x, float scale) noexcept {
    return static_cast<std::uint8_t>(int8::code_of(x, scale) + 128);
  }
  VIVA_HD static bool value(std::uint8_t code, float scale, float& x) noexcept {
    x = static_cast<float>(static_cast<int>(code) - 128) * scale;
    return true;
  }
};

struct e4m3_byte {
  static constexpr bool short_runs = false;
  VIVA_HD static float scale(float amax, dtype source) noexcept {
    return fp8::scale_of(amax, source);
  }
  VIVA_HD static std::uint8_t code(float x, float scale) noexcept {
    return e4m3_from_f32(x / scale);
  }
  VIVA_HD static bool value(std::uint8_t code, float scale, float& x) noexcept {
    x = f32_from_e4m3(code) * scale;
    return (code & 0x7F) != 0x7F;
  }
};

/// Four codes, or fewer, of `x` by one scale.
template <class Byte>
VIVA_HD std::uint32_t codes_of(const float* x, std::size_t n, float scale) noexcept {
  std::uint32_t four = 0;
  for (std::size_t k = 0; k < 4; ++k)
    if (k < n)
      four |= std::uint32_t{Byte::code(x[k], scale)} << 8 * k;
  return four;
}

template <class Byte>
VIVA_HD bool values_of(std::uint32_t four, std::size_t n, float scale, float* x) noexcept {
  bool fine = true;
  for (std::size_t k = 0; k < 4; ++k)
    if (k < n)
      fine = Byte::value(static_cast<std::uint8_t>(four >> 8 * k), scale, x[k]) && fine;
  return fine;
}

/// One scale for each run.
template <class Byte>
struct scaled_bytes : by_magnitude {
  static constexpr bool within_warp = Byte::short_runs;
  dtype type; ///< Of the scales.
  std::byte* codes;
  std::byte* scales;

  VIVA_HD float open(key most, std::size_t) const noexcept {
    return Byte::scale(float_of(most), type);
  }
  VIVA_HD void put_scale(std::size_t unit, float scale) const noexcept {
    put_value(scale, type, scales, unit);
  }
  VIVA_HD void put(std::size_t first, std::size_t at, std::size_t n, const float* x,
                   float scale) const noexcept {
    put_bytes(codes_of<Byte>(x, n, scale), n, codes + first + at);
  }
};

/// The tensor's scale for all runs; the first one writes it.
template <class Byte>
struct tensor_bytes : scaled_bytes<Byte> {
  static constexpr bool within_warp = true;
  float scale;

  VIVA_HD float open(by_magnitude::key, std::size_t) const noexcept {
    return scale;
  }
  VIVA_HD void put_scale(std::size_t unit, float) const noexcept {
    if (unit == 0)
      put_value(scale, this->type, this->scales, 0);
  }
};

template <class Byte>
struct unscaled_bytes {
  dtype type;
  const std::byte* codes;
  const std::byte* scales;
  bool of_tensor; ///< One scale for all.

  VIVA_HD float open(std::size_t unit) const noexcept {
    return value_of(scales, type, of_tensor ? 0 : unit);
  }
  VIVA_HD bool values(std::size_t first, std::size_t at, std::size_t n, float scale,
                      float* x) const noexcept {
    return values_of<Byte>(get_bytes(codes + first + at, n), n, scale, x) && is_finite(scale);
  }
};

} // namespace viva::kernels
