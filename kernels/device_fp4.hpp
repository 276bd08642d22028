#pragma once

// Decoders of nvfp4 and mxfp4, and the encoders of fp8-block, on a device.

#include "kernels/device_runs.hpp"
#include "kernels/fp8.hpp"
#include "kernels/mxfp4.hpp"
#include "kernels/nvfp4.hpp"

namespace viva::kernels {

/// Four E2M1 codes, the first of two in the low nibble, times a factor.
VIVA_HD inline void get_e2m1(const std::byte* in, float factor, float* x) noexcept {
  const std::uint32_t two = load_as<std::uint16_t>(in);
  for (int k = 0; k < 4; ++k)
    x[k] = f32_from_e2m1(static_cast<std::uint8_t>(two >> 4 * k & 15u)) * factor;
}

struct factor {
  float by;
  bool fine;
};

struct nvfp4_values {
  const std::byte* codes;
  const std::byte* scales;
  const std::byte* global;

  VIVA_HD factor open(std::size_t unit) const noexcept {
    const auto code = static_cast<std::uint8_t>(scales[unit]);
    const float of_tensor = load_as<float>(global);
    return {nvfp4::factor_of(code, of_tensor),
            (code & 0x7F) != 0x7F && is_finite(of_tensor) && of_tensor != 0};
  }
  VIVA_HD bool values(std::size_t first, std::size_t at, std::size_t, factor by,
                      float* x) const noexcept {
    get_e2m1(codes + (first + at) / 2, by.by, x);
    return by.fine;
  }
};

struct mxfp4_values {
  const std::byte* codes;
  const std::byte* scales;

  VIVA_HD factor open(std::size_t unit) const noexcept {
    const auto code = static_cast<std::uint8_t>(scales[unit]);
    return {f32_from_e8m0(code), code != 255};
  }
  VIVA_HD bool values(std::size_t first, std::size_t at, std::size_t, factor by,
                      float* x) const noexcept {
    get_e2m1(codes + (first + at) / 2, by.by, x);
    return by.fine;
  }
};

struct fp8_grid {
  std::size_t rows, cols;

  VIVA_HD std::size_t across() const noexcept {
    return (cols + fp8::block_side - 1) / fp8::block_side;
  }
};

/// Unit: one block of 128 x 128; lanes take its chunks of four columns row by row.
template <dtype Type>
struct encode_fp8_blocks {
  static constexpr bool within_warp = false;
  typed_values<Type> in;
  fp8_grid grid;
  std::byte* codes;
  std::byte* scales;
  device_report* report;

  template <class Team>
  VIVA_HD void operator()(const Team& team, std::size_t unit) const {
    const auto most = team.fold(
        [&](unsigned lane) {
          auto found = by_magnitude::key{0};
          walk(team, lane, unit, [&](std::size_t i, std::size_t n) {
            float x[4];
            in.some(i, n, x);
            found = larger{}(found, by_magnitude::look(x, 0, n));
          });
          return found;
        },
        larger{});
    if (!by_magnitude::finite(most)) {
      team.each([&](unsigned lane) {
        walk(team, lane, unit, [&](std::size_t i, std::size_t n) {
          for (std::size_t k = 0; k < n; ++k)
            if (!is_finite(in.one(i + k)))
              lower_to(&report->not_finite, i + k);
        });
      });
      return;
    }
    const float scale = fp8::scale_of(float_of(most), Type);
    team.once([&] { put_value(scale, Type, scales, unit); });
    team.each([&](unsigned lane) {
      walk(team, lane, unit, [&](std::size_t i, std::size_t n) {
        float x[4];
        in.some(i, n, x);
        std::uint32_t four = 0;
        for (std::size_t k = 0; k < n; ++k)
          four |= std::uint32_t{e4m3_from_f32(x[k] / scale)} << 8 * k;
        put_bytes(four, n, codes + i);
      });
    });
  }

private:
  /// body(i, n) for each of a lane's chunks, i being the flat index of its first value.
  template <class Team, class Body>
  VIVA_HD void walk(const Team& team, unsigned lane, std::size_t unit, const Body& body) const {
    constexpr std::size_t chunks = fp8::block_side / 4; // in a row of the block
    const std::size_t row = unit / grid.across() * fp8::block_side;
    const std::size_t col = unit % grid.across() * fp8::block_side;
    for (std::size_t c = lane; c < chunks * fp8::block_side; c += team.lanes()) {
      const std::size_t r = row + c / chunks, at = col + c % chunks * 4;
      if (r < grid.rows && at < grid.cols)
        body(r * grid.cols + at, grid.cols - at < 4 ? grid.cols - at : 4);
    }
  }
};

/// Unit: a row.
struct fp8_block_values {
  dtype type;
  fp8_grid grid;
  const std::byte* codes;
  const std::byte* scales;

  VIVA_HD std::size_t open(std::size_t row) const noexcept {
    return row / fp8::block_side * grid.across();
  }
  VIVA_HD bool values(std::size_t first, std::size_t at, std::size_t n, std::size_t band,
                      float* x) const noexcept {
    const float scale = value_of(scales, type, band + at / fp8::block_side);
    bool fine = is_finite(scale);
    for (std::size_t k = 0; k < n; ++k) {
      const auto code = static_cast<std::uint8_t>(codes[first + at + k]);
      x[k] = f32_from_e4m3(code) * scale;
      fine = fine && (code & 0x7F) != 0x7F;
    }
    return fine;
  }
};

} // namespace viva::kernels
