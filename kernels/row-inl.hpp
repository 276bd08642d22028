// Rows that are looked at twice, first for their largest magnitude and then for their codes, with
// little to compute: memory would stand still during the first look if the second alone fetched
// what comes later. So they share: of each four lines the first look fetches one, the second three.
// It gives int8 5 to 7 % of the read bandwidth, fp8 2 %; blocks, whose second look computes more,
// lose by it.

#include "kernels/fold-inl.hpp"
#include "kernels/stream-inl.hpp"

#if defined(VIVA_KERNELS_ROW_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_ROW_INL
#undef VIVA_KERNELS_ROW_INL
#else
#define VIVA_KERNELS_ROW_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// Four lines.
inline constexpr std::size_t row_share = 256;

/// How far ahead of a row's first look its share is fetched.
inline constexpr std::size_t row_ahead = std::size_t{12} << 10;

/// fold_all<magnitude_fold>; fetches its share of what comes `row_ahead` bytes later.
template <class Source>
HWY_INLINE std::int32_t fold_row(Source from, const std::byte* HWY_RESTRICT in, std::size_t count) {
  constexpr std::size_t vector = 4 * hn::MaxLanes(df32()); // bytes
  const std::size_t whole = count * from.bytes / row_share * row_share;
  const di32 d;
  auto largest = hn::Zero(d);
  if constexpr (folds_pairs<magnitude_fold, Source>) {
    auto p0 = hn::Zero(du16_pairs()), p1 = p0, p2 = p0, p3 = p0;
    for (std::size_t i = 0; i < whole; i += row_share) {
      __builtin_prefetch(in + i + row_ahead, 0, 2);
      VIVA_UNROLL(4)
      for (std::size_t k = i; k < i + row_share; k += 4 * vector) {
        p0 = take_pairs(p0, in + k);
        p1 = take_pairs(p1, in + k + vector);
        p2 = take_pairs(p2, in + k + 2 * vector);
        p3 = take_pairs(p3, in + k + 3 * vector);
      }
    }
    largest = larger_of_pairs(from, hn::Max(hn::Max(p0, p1), hn::Max(p2, p3)));
  } else {
    auto m0 = largest, m1 = m0, m2 = m0, m3 = m0;
    for (std::size_t i = 0; i < whole; i += row_share) {
      __builtin_prefetch(in + i + row_ahead, 0, 2);
      VIVA_UNROLL(4)
      for (std::size_t k = i; k < i + row_share; k += 4 * vector) {
        m0 = magnitude_fold::take(m0, load(from, in + k));
        m1 = magnitude_fold::take(m1, load(from, in + k + vector));
        m2 = magnitude_fold::take(m2, load(from, in + k + 2 * vector));
        m3 = magnitude_fold::take(m3, load(from, in + k + 3 * vector));
      }
    }
    largest = hn::Max(hn::Max(m0, m1), hn::Max(m2, m3));
  }
  return std::max(hn::GetLane(hn::MaxOfLanes(d, largest)),
                  fold_all<magnitude_fold>(from, in + whole, count - whole / from.bytes));
}

/// prefetch_for_later of the second look's share of `bytes` bytes at `at`.
HWY_INLINE void prefetch_row_for_later(const std::byte* at, std::size_t bytes) {
  VIVA_UNROLL(16)
  for (std::size_t line = 0; line < bytes; line += 64)
    if (bytes < row_share || line % row_share != 0)
      __builtin_prefetch(at + line, 0, 2);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
