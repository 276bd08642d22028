#pragma once

// int4 on a device: a thread encodes a group by the reference's functions.

#include "kernels/device_runs.hpp"
#include "kernels/int4_search.hpp"
#include "kernels/tile.hpp"

namespace viva::kernels {

struct encode_int4 {
  tile_io io;
  std::uint32_t flags;
  std::size_t row_groups;
  std::byte* scales;
  std::byte* zeros; ///< All 0 before; null without `asym`.
  const float* channels;

  VIVA_HD void operator()(std::size_t unit, const float* x, std::byte* record) const noexcept {
    const float* w = channels == nullptr ? nullptr : channels + unit % row_groups * io.block_values;
    const auto by = int4::group_scale_reference(x, w, io.block_values, flags, io.type);
    put_value(by.scale, io.type, scales, unit);
    if (zeros != nullptr) {
      const std::size_t row = unit / row_groups;
      set_bits(zeros + (row / 8 * row_groups + unit % row_groups) * 4 + row % 8 / 2,
               static_cast<unsigned>(by.zero + 8) << (row % 2 * 4));
    }
    for (unsigned i = 0; i < io.block_values; i += 2)
      record[i / 2] = static_cast<std::byte>((int4::code_of(x[i], by) + 8)
                                             | (int4::code_of(x[i + 1], by) + 8) << 4);
  }
};

struct int4_values {
  dtype type;
  std::size_t row_groups;
  const std::byte* codes;
  const std::byte* scales;
  const std::byte* zeros; ///< Null without `asym`.

  VIVA_HD int4::group_scale open(std::size_t unit) const noexcept {
    const std::size_t row = unit / row_groups;
    int zero = 0;
    if (zeros != nullptr) {
      const auto* at = zeros + (row / 8 * row_groups + unit % row_groups) * 4 + row % 8 / 2;
      zero = (static_cast<int>(*at) >> row % 2 * 4 & 15) - 8;
    }
    return {value_of(scales, type, unit), zero};
  }
  VIVA_HD bool values(std::size_t first, std::size_t at, std::size_t, int4::group_scale by,
                      float* x) const noexcept {
    const std::uint32_t two = load_as<std::uint16_t>(codes + (first + at) / 2);
    for (int k = 0; k < 4; ++k)
      x[k] = static_cast<float>(static_cast<int>(two >> 4 * k & 15u) - 8 - by.zero) * by.scale;
    return is_finite(by.scale);
  }
};

} // namespace viva::kernels
