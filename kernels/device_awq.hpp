#pragma once

// awq on a device: 16 lanes search a group's clip, each with the columns whose errors its sum adds.

#include "kernels/awq.hpp"
#include "kernels/device_runs.hpp"

namespace viva::kernels {

/// awq::place, where no table can be.
VIVA_HD constexpr unsigned awq_place(std::size_t row) noexcept {
  return static_cast<unsigned>(row % 2 * 4 + row / 2);
}

/// Unit: a group of columns in 8 rows; teams of 16 lanes, lane l having columns l, l + 16, ….
template <dtype Type>
struct encode_awq {
  typed_values<Type> in;
  std::size_t rows, cols, block;
  int steps; ///< Ranges tried.
  const float* channels;
  std::byte* codes;
  std::byte* scales;
  std::byte* zeros;
  device_report* report;

  static constexpr bool within_warp = true; ///< Never a team of more than 32 lanes.
  static constexpr unsigned lanes = awq::sum_lanes;
  static constexpr unsigned each_max = awq::group_max / lanes;
  struct columns {
    float x[each_max], weight[each_max];
    std::uint32_t words[each_max];
  };

  template <class Team>
  VIVA_HD void operator()(const Team& team, std::size_t unit) const {
    const std::size_t groups = (cols + block - 1) / block;
    const std::size_t band = unit / groups, first = unit % groups * block;
    const auto count = static_cast<unsigned>(cols - first < block ? cols - first : block);
    typename Team::template own<columns> mine;
    team.each([&](unsigned lane) {
      for (unsigned k = 0; lane + k * lanes < count; ++k) {
        mine[lane].words[k] = 0;
        mine[lane].weight[k] = channels == nullptr ? 1.0f : channels[first + lane + k * lanes];
      }
    });
    std::uint32_t zero_word = 0;
    for (unsigned r = 0; r < awq::unit_rows && band * awq::unit_rows + r < rows; ++r) {
      const std::size_t row = band * awq::unit_rows + r;
      awq::group_code best;
      if (!search(team, mine, row * cols + first, count, best))
        return;
      team.each([&](unsigned lane) {
        for (unsigned k = 0; lane + k * lanes < count; ++k)
          mine[lane].words[k] |= static_cast<std::uint32_t>(awq::code_of(mine[lane].x[k], best))
                                 << 4 * awq_place(r);
      });
      zero_word |= static_cast<std::uint32_t>(best.zero) << 4 * awq_place(r);
      team.once(
          [&] { store_as(f16_from_f32(best.scale), scales + (row * groups + unit % groups) * 2); });
    }
    team.each([&](unsigned lane) {
      for (unsigned k = 0; lane + k * lanes < count; ++k)
        store_as(mine[lane].words[k], codes + (band * cols + first + lane + k * lanes) * 4);
    });
    team.once([&] { store_as(zero_word, zeros + unit * 4); });
  }

private:
  /// The best code of a group that begins at flat index `first`; false where it is not finite.
  template <class Team, class Own>
  VIVA_HD bool search(const Team& team, Own& mine, std::size_t first, unsigned count,
                      awq::group_code& best) const {
    const auto range = team.fold(
        [&](unsigned lane) {
          awq::group_range all;
          for (unsigned k = 0; lane + k * lanes < count; ++k) {
            const float x = in.one(first + lane + k * lanes);
            mine[lane].x[k] = x;
            if (!is_finite(x))
              lower_to(&report->not_finite, first + lane + k * lanes);
            all = widened(all, {x, x, is_finite(x) ? magnitude(x) : float_of(infinity_bits)});
          }
          return all;
        },
        [](const awq::group_range& a, const awq::group_range& b) { return widened(a, b); });
    if (!is_finite(range.magnitude))
      return false;
    float least = 0;
    for (int i = 0; i < steps; ++i) {
      const auto tried = awq::code_of(range, i);
      const float loss = team.fold(
          [&](unsigned lane) {
            float sum = 0;
            for (unsigned k = 0; lane + k * lanes < count; ++k)
              sum += awq::loss_of(mine[lane].x[k], mine[lane].weight[k], tried);
            return sum;
          },
          [](float a, float b) { return a + b; });
      if (i == 0 || loss < least) {
        least = loss;
        best = tried;
      }
    }
    return true;
  }

  VIVA_HD static awq::group_range widened(const awq::group_range& a,
                                          const awq::group_range& b) noexcept {
    return {b.lo < a.lo ? b.lo : a.lo, b.hi > a.hi ? b.hi : a.hi,
            b.magnitude > a.magnitude ? b.magnitude : a.magnitude};
  }
};

/// Unit: a row.
struct awq_values {
  std::size_t cols, block;
  const std::byte* codes;
  const std::byte* scales;
  const std::byte* zeros;

  VIVA_HD std::size_t open(std::size_t row) const noexcept {
    return row;
  }
  VIVA_HD bool values(std::size_t, std::size_t at, std::size_t n, std::size_t row,
                      float* x) const noexcept {
    const std::size_t groups = (cols + block - 1) / block;
    const std::size_t band = row / awq::unit_rows, g = at / block;
    const unsigned shift = 4 * awq_place(row % awq::unit_rows);
    const auto zero = load_as<std::uint32_t>(zeros + (band * groups + g) * 4) >> shift & 15u;
    const float scale = f32_from_f16(load_as<std::uint16_t>(scales + (row * groups + g) * 2));
    for (std::size_t k = 0; k < n; ++k) {
      const auto word = load_as<std::uint32_t>(codes + (band * cols + at + k) * 4);
      x[k] =
          awq::value_of(static_cast<float>(word >> shift & 15u), {scale, static_cast<float>(zero)});
    }
    return is_finite(scale);
  }
};

} // namespace viva::kernels
