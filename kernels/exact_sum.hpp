#pragma once

// exact_sum: adds doubles without any rounding, so the order of adding cannot matter.
//
// Partial results of shards merge to the same bits whatever the shards were: that is what lets
// `viva compare` print exactly what `viva quantize` reported, for any --lanes and any resume.
//
// Form     a fixed-point number of 32-bit limbs held in signed 64-bit words (after Kulisch,
//          "Computer Arithmetic and Validity", chapter 8); limb i weighs 2^(32 i - 320).
// Range    addends that are multiples of 2^-320 below 2^320 in magnitude: every sum of products of
//          two f32 values qualifies. Finite addends outside are clamped or dropped below 2^-320;
//          non-finite addends are ignored (callers count them apart).
// Price    three 64-bit additions for each addend, a carry pass every 2^30 addends.

#include <array>
#include <cstdint>

namespace viva::kernels {

class exact_sum {
public:
  static constexpr int limb_count = 21;

  void add(double x) noexcept;
  void merge(const exact_sum& other) noexcept;

  /// The sum, rounded once to the nearest double (ties to even).
  double value() const noexcept;

  /// Limbs in canonical form (each in [0, 2^32) but the last, which carries the sign).
  /// Equal sums have equal limbs; used for the journal and for ==.
  std::array<std::int64_t, limb_count> canonical() const noexcept;
  static exact_sum from_canonical(const std::array<std::int64_t, limb_count>& limbs) noexcept;

  friend bool operator==(const exact_sum& a, const exact_sum& b) noexcept {
    return a.canonical() == b.canonical();
  }

private:
  void carry() noexcept;

  std::array<std::int64_t, limb_count> x_limbs{};
  std::uint32_t x_pending = 0; ///< Addends since the last carry pass.
};

} // namespace viva::kernels
