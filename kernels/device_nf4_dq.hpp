#pragma once

// nf4-dq on a device: nf4's codes with every absmax kept as f32 for a while, then 256 of them at a
// time become their codes and one nested scale.

#include "kernels/device_levels.hpp"

namespace viva::kernels {

struct nested_scales {
  static constexpr bool within_warp = false;
  const float* absmax; ///< Of `blocks` blocks.
  std::size_t blocks;
  float offset;
  std::byte* codes;
  std::byte* nested;

  /// Unit: one nested block.
  template <class Team>
  VIVA_HD void operator()(const Team& team, std::size_t unit) const {
    const std::size_t first = unit * nf4_dq::nested_blocks;
    const std::size_t count =
        blocks - first < nf4_dq::nested_blocks ? blocks - first : nf4_dq::nested_blocks;
    const auto most = team.fold(
        [&](unsigned lane) {
          std::uint32_t bits = 0;
          for (std::size_t b = lane; b < count; b += team.lanes())
            bits = larger{}(bits, magnitude_bits(absmax[first + b] - offset));
          return bits;
        },
        larger{});
    const float largest = float_of(most);
    const float inverse = nf4::inverse_of(largest);
    team.once([&] { store_as(largest, nested + 4 * unit); });
    team.each([&](unsigned lane) {
      for (std::size_t b = lane; b < count; b += team.lanes())
        codes[first + b] =
            static_cast<std::byte>(nf4_dq::index_of((absmax[first + b] - offset) * inverse));
    });
  }
};

struct nf4_dq_values {
  const std::byte* codes;
  const std::byte* absmax;
  const std::byte* nested;
  float offset;

  VIVA_HD float scale(std::size_t unit) const noexcept {
    const float by = load_as<float>(nested + unit / nf4_dq::nested_blocks * 4);
    return nf4_dq::map_level(static_cast<unsigned>(absmax[unit])) * by + offset;
  }
  VIVA_HD bool fine(std::size_t unit) const noexcept {
    return is_finite(load_as<float>(nested + unit / nf4_dq::nested_blocks * 4));
  }

  struct opened {
    float scale;
    bool fine;
  };
  VIVA_HD opened open(std::size_t unit) const noexcept {
    return {scale(unit), fine(unit)};
  }
  VIVA_HD bool values(std::size_t first, std::size_t at, std::size_t n, opened by,
                      float* x) const noexcept {
    get_levels<nf4_levels>(codes + (first + at) / 2, n, by.scale, x);
    return by.fine;
  }
};

} // namespace viva::kernels
