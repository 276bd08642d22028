#pragma once

// 16 levels on a device: nf4, nf4-f16, nf4-dq and nf4-signed, by nf4.hpp's functions and those of
// its relatives.

#include "kernels/device_runs.hpp"
#include "kernels/nf4.hpp"
#include "kernels/nf4_dq.hpp"
#include "kernels/nf4_dq_map.hpp"
#include "kernels/nf4_signed.hpp"

namespace viva::kernels {

struct nf4_levels {
  VIVA_HD static std::uint8_t code(float u) noexcept {
    return nf4::code_of(u);
  }
  VIVA_HD static float level(unsigned code) noexcept {
    return nf4::level(code);
  }
};

struct nf4_signed_levels {
  VIVA_HD static std::uint8_t code(float u) noexcept {
    return nf4_signed::code_of(u);
  }
  VIVA_HD static float level(unsigned code) noexcept {
    return nf4_signed::level(code);
  }
};

/// Two codes a byte, the first above; what lies beyond n is zero's code.
template <class Levels>
VIVA_HD void put_levels(const float* x, std::size_t n, float inverse, std::byte* out) noexcept {
  std::uint8_t code[4];
  for (std::size_t k = 0; k < 4; ++k)
    code[k] = k < n ? Levels::code(x[k] * inverse) : nf4::code_of_zero;
  const std::uint32_t two = (code[0] << 4 | code[1]) | (code[2] << 4 | code[3]) << 8;
  if (n > 2)
    store_as(static_cast<std::uint16_t>(two), out);
  else
    out[0] = static_cast<std::byte>(two);
}

/// nf4's codes; how absmax is kept is `Scale`'s affair.
template <class Scale>
struct nf4_rule : by_magnitude {
  static constexpr bool within_warp = true;
  std::byte* codes;
  Scale scales;

  VIVA_HD float open(key most, std::size_t) const noexcept {
    return float_of(most);
  }
  VIVA_HD void put_scale(std::size_t unit, float absmax) const noexcept {
    scales.put(unit, absmax);
  }
  VIVA_HD void put(std::size_t first, std::size_t at, std::size_t n, const float* x,
                   float absmax) const noexcept {
    put_levels<nf4_levels>(x, n, nf4::inverse_of(absmax), codes + (first + at) / 2);
  }
};

struct f32_scales {
  std::byte* at;
  VIVA_HD void put(std::size_t unit, float absmax) const noexcept {
    store_as(absmax, at + 4 * unit);
  }
};

/// f16, saturated.
struct f16_scales {
  std::byte* at;
  VIVA_HD void put(std::size_t unit, float absmax) const noexcept {
    store_as(f16_from_f32(absmax < 65504.0f ? absmax : 65504.0f), at + 2 * unit);
  }
};

/// The value of largest magnitude decides, the first of equals: its magnitude, then its place
/// counted down, then its sign make the key.
struct nf4_signed_rule {
  using key = unsigned long long;
  static constexpr bool within_warp = true;
  std::byte* codes;
  std::byte* extremes;

  VIVA_HD static key look(const float* x, std::size_t at, std::size_t n) noexcept {
    key most = 0;
    for (std::size_t k = 0; k < 4; ++k)
      if (k < n) {
        const auto later = static_cast<std::uint32_t>(0x7FFFFFFFu - (at + k));
        const key mine = key{magnitude_bits(x[k])} << 32 | key{later} << 1 | bits_of(x[k]) >> 31;
        most = most < mine ? mine : most;
      }
    return most;
  }
  VIVA_HD static bool finite(key most) noexcept {
    return (most >> 32) < infinity_bits;
  }
  /// A block of zeros keeps +0, whatever their signs.
  VIVA_HD static float open(key most, std::size_t) noexcept {
    const auto bits = static_cast<std::uint32_t>(most >> 32);
    return bits == 0 ? 0.0f : float_of(bits | static_cast<std::uint32_t>(most & 1) << 31);
  }
  VIVA_HD void put_scale(std::size_t unit, float extreme) const noexcept {
    store_as(extreme, extremes + 4 * unit);
  }
  VIVA_HD void put(std::size_t first, std::size_t at, std::size_t n, const float* x,
                   float extreme) const noexcept {
    put_levels<nf4_signed_levels>(x, n, nf4_signed::inverse_of(extreme), codes + (first + at) / 2);
  }
};

template <class Levels>
VIVA_HD void get_levels(const std::byte* in, std::size_t n, float scale, float* x) noexcept {
  const std::uint32_t two = n > 2 ? load_as<std::uint16_t>(in) : static_cast<std::uint32_t>(in[0]);
  for (std::size_t k = 0; k < 4; ++k)
    x[k] = Levels::level(two >> (k / 2 * 8 + (k % 2 == 0 ? 4 : 0)) & 15u) * scale;
}

/// Blocks whose scales are f32 or f16.
template <class Levels>
struct level_values {
  const std::byte* codes;
  const std::byte* scales;
  dtype type;

  VIVA_HD float open(std::size_t unit) const noexcept {
    return value_of(scales, type, unit);
  }
  VIVA_HD bool values(std::size_t first, std::size_t at, std::size_t n, float scale,
                      float* x) const noexcept {
    get_levels<Levels>(codes + (first + at) / 2, n, scale, x);
    return is_finite(scale);
  }
};

} // namespace viva::kernels
