// Memory traffic of long runs: what is asked for before it is needed, and stores that go past the
// cache. Both only change when bytes move, never which.

#include "kernels/past_cache.hpp"
#include "kernels/simd-inl.hpp"

#include <hwy/cache_control.h>

#include <algorithm>

#if defined(VIVA_KERNELS_STREAM_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_STREAM_INL
#undef VIVA_KERNELS_STREAM_INL
#else
#define VIVA_KERNELS_STREAM_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// How far ahead of the value in work a source is fetched. No multiple of 4 KiB: those share the
/// sets of the first-level cache with the batch in work, and push it out.
inline constexpr std::size_t prefetch_bytes = std::size_t{10} << 10;

/// Fetches the lines of `bytes` bytes, `ahead` behind `at`. They may lie past the end: a prefetch
/// cannot fault. Where a pass looks twice at a batch, it belongs into the second look, whose
/// arithmetic leaves places for lines on their way: the first look would fill them all at once.
HWY_INLINE void prefetch_ahead(const std::byte* at, std::size_t bytes,
                               std::size_t ahead = prefetch_bytes) {
  VIVA_UNROLL(16)
  for (std::size_t line = 0; line < bytes; line += 64)
    hwy::Prefetch(at + ahead + line);
}

/// Fetches the lines of `bytes` bytes at `at` into the second-level cache. For passes over rows or
/// runs for which, with what comes next, the first level has no room.
HWY_INLINE void prefetch_for_later(const std::byte* at, std::size_t bytes) {
  VIVA_UNROLL(16)
  for (std::size_t line = 0; line < bytes; line += 64)
    __builtin_prefetch(at + line, 0, 2);
}

/// How far ahead of a second look the next first one's lines are fetched: as far as the batch or
/// row is long, so that neither what is in work nor what comes after the next is asked for. A
/// quarter of the second-level cache at most.
HWY_INLINE std::size_t one_look_ahead(std::size_t bytes) {
  return std::clamp<std::size_t>(bytes, 8 << 10, 256 << 10);
}

/// Stores that stay in the cache; the address may be unaligned.
struct cached_stores {
  template <class D>
  static HWY_INLINE void put(hn::Vec<D> v, D d, hn::TFromD<D>* HWY_RESTRICT to) {
    hn::StoreU(v, d, to);
  }
};

/// Stores past the cache; the address is aligned to the vector.
struct past_cache_stores {
  template <class D>
  static HWY_INLINE void put(hn::Vec<D> v, D d, hn::TFromD<D>* HWY_RESTRICT to) {
    hn::Stream(v, d, to);
  }
};

/// Calls `body` with the stores that suit `bytes` bytes at `to`, and orders stores past the cache
/// before everything that follows.
template <class Body>
HWY_INLINE auto with_stores(const void* to, std::size_t bytes, const Body& body) {
  if (!stores_past_cache(to, bytes))
    return body(cached_stores{});
  const auto done = body(past_cache_stores{});
  hwy::FlushStream();
  return done;
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
