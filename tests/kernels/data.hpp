#pragma once

// Values that break encoders: ties, signs of zero, subnormals, the huge, the tiny, and random ones.

#include "kernels/convert.hpp"
#include "kernels/minifloat.hpp"
#include "kernels/nf4.hpp"

#include <cmath>
#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

namespace viva::kernels::testing {

struct data_set {
  std::string_view name;
  float (*value)(std::mt19937&, std::size_t i);
};

inline float normal(std::mt19937& random) {
  return std::normal_distribution<float>(0, 0.3f)(random);
}

inline float any_finite(std::mt19937& random) {
  for (;;)
    if (const float x = float_of(static_cast<std::uint32_t>(random())); is_finite(x))
      return x;
}

inline float ulps_from(float x, int ulps) {
  return float_of(bits_of(x) + static_cast<std::uint32_t>(ulps));
}

/// k + 1/2, of either sign, or one of its four nearest neighbours.
inline float near_half(std::mt19937& random) {
  const float half = static_cast<float>(random() % 127) + 0.5f;
  const float x = ulps_from(half, static_cast<int>(random() % 5) - 2);
  return random() % 2 ? x : -x;
}

/// The middle of two neighbouring codes times `scale`, of either sign, or one of its four nearest
/// neighbours.
inline float near_e2m1(std::mt19937& random, float scale) {
  const float middle = e2m1_threshold(static_cast<int>(random() % 7)) * scale;
  const float x = ulps_from(middle, static_cast<int>(random() % 5) - 2);
  return random() % 2 ? x : -x;
}
inline float near_e4m3(std::mt19937& random, float scale) {
  const auto code = static_cast<std::uint8_t>(random() % 0x7E);
  const float next = f32_from_e4m3(static_cast<std::uint8_t>(code + 1));
  const float middle = (f32_from_e4m3(code) + next) * 0.5f * scale;
  const float x = ulps_from(middle, static_cast<int>(random() % 5) - 2);
  return random() % 2 ? x : -x;
}

/// Each value depends on its index and on `random` alone.
inline const std::vector<data_set>& data_sets() {
  static const std::vector<data_set> sets = {
      {"normal", [](std::mt19937& r, std::size_t) { return normal(r); }},
      {"uniform",
       [](std::mt19937& r, std::size_t) { return static_cast<float>(r() >> 8) * 0x1p-24f; }},
      {"all negative", [](std::mt19937& r, std::size_t) { return -std::fabs(normal(r)) - 0.01f; }},
      {"zeros of both signs", [](std::mt19937& r, std::size_t) { return r() % 2 ? 0.0f : -0.0f; }},
      {"zero blocks among others",
       [](std::mt19937& r, std::size_t i) { return i / 64 % 3 == 1 ? 0.0f : normal(r); }},
      {"one outlier",
       [](std::mt19937& r, std::size_t i) { return i % 97 == 13 ? 1e4f : normal(r); }},
      {"huge", [](std::mt19937& r, std::size_t) { return normal(r) * 1e38f; }},
      {"largest f32",
       [](std::mt19937& r, std::size_t) { return r() % 2 ? 0x1.fffffep127f : -0x1.fffffep127f; }},
      {"tiny", [](std::mt19937& r, std::size_t) { return normal(r) * 1e-37f; }},
      {"subnormal",
       [](std::mt19937& r, std::size_t) {
         return float_of(static_cast<std::uint32_t>(r()) & 0x807FFFFFu);
       }},
      {"random bits", [](std::mt19937& r, std::size_t) { return any_finite(r); }},
      {"both signs of one magnitude",
       [](std::mt19937& r, std::size_t) { return r() % 2 ? 0.75f : -0.75f; }},
      {"half integers below 127",
       [](std::mt19937& r, std::size_t i) {
         return i % 32 == 0 ? -127.0f : static_cast<float>(static_cast<int>(r() % 509) - 254) / 2;
       }},
      {"halves and their neighbours, below 127",
       [](std::mt19937& r, std::size_t i) { return i % 32 == 0 ? 127.0f : near_half(r); }},
      {"halves and their neighbours, below 127.5",
       [](std::mt19937& r, std::size_t i) { return i % 32 == 0 ? 127.5f : near_half(r); }},
      {"halves and their neighbours, below 8",
       [](std::mt19937& r, std::size_t i) { return i % 32 == 0 ? -8.0f : near_half(r) / 16; }},
      {"nf4 thresholds and their neighbours",
       [](std::mt19937& r, std::size_t i) {
         const float t = nf4::threshold(static_cast<int>(r() % 15));
         return i % 32 == 0 ? 1.0f : ulps_from(t, static_cast<int>(r() % 5) - 2);
       }},
      {"e2m1 thresholds and their neighbours, scale 1",
       [](std::mt19937& r, std::size_t i) { return i % 16 == 0 ? 6.0f : near_e2m1(r, 1); }},
      {"e2m1 thresholds and their neighbours, scales of four bits",
       [](std::mt19937& r, std::size_t i) {
         const float scale = static_cast<float>(8 + i / 16 % 8) / 16;
         return i % 16 == 0 ? 6 * scale : near_e2m1(r, scale);
       }},
      {"e4m3 midpoints and their neighbours, scale 1",
       [](std::mt19937& r, std::size_t i) { return i % 64 == 0 ? 448.0f : near_e4m3(r, 1); }},
      {"e4m3 midpoints and their neighbours, scale 3",
       [](std::mt19937& r, std::size_t i) { return i % 64 == 0 ? 3 * 448.0f : near_e4m3(r, 3); }},
      {"powers of two less a few ulp",
       [](std::mt19937& r, std::size_t) {
         return ulps_from(std::ldexp(1.0f, static_cast<int>(r() % 21) - 10),
                          -static_cast<int>(r() % 4));
       }},
      {"the bf16 grid",
       [](std::mt19937& r, std::size_t) { return f32_from_bf16(bf16_from_f32(normal(r))); }},
  };
  return sets;
}

/// `count` values of a set, the same for the same seed. What overflows `type` is made finite.
inline std::vector<float> values_of(const data_set& set, std::size_t count, dtype type,
                                    std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = set.value(random, i);
    if (!is_finite(rounded_to(values[i], type)))
      values[i] = std::copysign(type == dtype::f16 ? 65504.0f : 0x1.fep127f, values[i]);
  }
  return values;
}

} // namespace viva::kernels::testing
