#pragma once

// Runs of values that share a scale, on a device: a row, or a block of a row or of flat order. A
// rule says what a method makes of them; how lanes share a run stands here, once.
//
// A rule of encoding has
//   key                          an unsigned integer; the largest of a run decides its scale
//   within_warp                  true where runs are too short for more lanes than a warp has
//   look(x, at, n)               key of n values, at most 4, `at` being the first one's place
//   finite(key)                  false where one of them is NaN or infinite
//   open(key, unit)              what to encode the run by
//   put_scale(unit, by), put(first, at, n, x, by)
// and one of decoding
//   open(unit)                   what to decode the run by
//   values(first, at, n, by, x)  n values; false where the bytes cannot be the method's

#include "kernels/device_code.hpp"
#include "kernels/run_cut.hpp"

namespace viva::kernels {

/// Key, and what is finite, of rules that go by the largest magnitude.
struct by_magnitude {
  using key = std::uint32_t;
  static constexpr bool within_warp = false;

  VIVA_HD static key look(const float* x, std::size_t, std::size_t) noexcept {
    key most = 0;
    for (int k = 0; k < 4; ++k) // those beyond n are 0
      most = larger{}(most, magnitude_bits(x[k]));
    return most;
  }
  VIVA_HD static bool finite(key most) noexcept {
    return most < infinity_bits;
  }
};

template <dtype Type, class Rule>
struct encode_runs {
  typed_values<Type> in;
  run_cut cut;
  Rule rule;
  device_report* report;

  static constexpr bool within_warp = Rule::within_warp;
  static constexpr unsigned held =
      4; ///< Chunks that a lane keeps from the first look to the second.
  struct chunks {
    float x[held][4];
  };

  template <class Team>
  VIVA_HD void operator()(const Team& team, std::size_t unit) const {
    const std::size_t first = cut.first(unit), count = cut.count(unit);
    typename Team::template own<chunks> kept;
    const auto most = team.fold(
        [&](unsigned lane) {
          auto found = typename Rule::key{0};
          walk(team, lane, count, [&](unsigned k, std::size_t at, std::size_t n) {
            float rest[4];
            float* x = k < held ? kept[lane].x[k] : rest;
            in.some(first + at, n, x);
            found = larger{}(found, rule.look(x, at, n));
          });
          return found;
        },
        larger{});
    if (!Rule::finite(most)) {
      team.each([&](unsigned lane) { find_not_finite(team, lane, first, count); });
      return;
    }
    const auto by = rule.open(most, unit);
    team.once([&] { rule.put_scale(unit, by); });
    team.each([&](unsigned lane) {
      walk(team, lane, count, [&](unsigned k, std::size_t at, std::size_t n) {
        float x[4];
        if (k < held)
          for (int i = 0; i < 4; ++i)
            x[i] = kept[lane].x[k][i];
        else
          in.some(first + at, n, x);
        rule.put(first, at, n, x, by);
      });
    });
  }

private:
  /// body(k, at, n) for each chunk of a lane. The first are unrolled, so that what is kept of them
  /// is in registers.
  template <class Team, class Body>
  VIVA_HD static void walk(const Team& team, unsigned lane, std::size_t count, const Body& body) {
    const auto chunk = [&](unsigned k) {
      const std::size_t at = 4 * (lane + std::size_t{k} * team.lanes());
      if (at < count)
        body(k, at, count - at < 4 ? count - at : 4);
    };
    VIVA_UNROLLED
    for (unsigned k = 0; k < held; ++k)
      chunk(k);
    const auto all = static_cast<unsigned>((count + 4 * team.lanes() - 1) / (4 * team.lanes()));
    for (unsigned k = held; k < all; ++k)
      chunk(k);
  }

  template <class Team>
  VIVA_HD void find_not_finite(const Team& team, unsigned lane, std::size_t first,
                               std::size_t count) const {
    for (std::size_t i = lane; i < count; i += team.lanes())
      if (!is_finite(in.one(first + i))) {
        lower_to(&report->not_finite, first + i);
        return;
      }
  }
};

template <class Rule>
struct decode_runs {
  static constexpr bool within_warp = false;
  run_cut cut;
  Rule rule;
  float* out;
  device_report* report;

  template <class Team>
  VIVA_HD void operator()(const Team& team, std::size_t unit) const {
    const std::size_t first = cut.first(unit), count = cut.count(unit);
    const auto by = rule.open(unit);
    team.each([&](unsigned lane) {
      for (std::size_t at = 4 * std::size_t{lane}; at < count; at += 4 * team.lanes()) {
        const std::size_t n = count - at < 4 ? count - at : 4;
        float x[4];
        if (!rule.values(first, at, n, by, x))
          raise_to(&report->malformed, 1);
        put_values(x, n, out + first + at);
      }
    });
  }
};

} // namespace viva::kernels
