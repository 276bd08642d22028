#include "bench/bandwidth.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/bandwidth.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <iterator>
#include <numeric>

HWY_BEFORE_NAMESPACE();
namespace viva::bench::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using words = hn::ScalableTag<std::uint64_t>;

std::uint64_t read_words_simd(const std::byte* from, std::size_t bytes) {
  const words d;
  const std::size_t step = hn::Lanes(d);
  const auto* at = reinterpret_cast<const std::uint64_t*>(from);
  const auto* end = at + bytes / 8;
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  for (; at < end; at += 8 * step) {
    s0 = hn::Add(s0, hn::Add(hn::LoadU(d, at), hn::LoadU(d, at + step)));
    s1 = hn::Add(s1, hn::Add(hn::LoadU(d, at + 2 * step), hn::LoadU(d, at + 3 * step)));
    s2 = hn::Add(s2, hn::Add(hn::LoadU(d, at + 4 * step), hn::LoadU(d, at + 5 * step)));
    s3 = hn::Add(s3, hn::Add(hn::LoadU(d, at + 6 * step), hn::LoadU(d, at + 7 * step)));
  }
  HWY_ALIGN std::uint64_t lanes[hn::MaxLanes(d)]; // GCC adds them as signed, which must not wrap
  hn::Store(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), d, lanes);
  return std::accumulate(std::begin(lanes), std::end(lanes), std::uint64_t{0});
}

void write_words_simd(std::byte* to, std::size_t bytes, bool past_cache) {
  const words d;
  const std::size_t step = hn::Lanes(d);
  auto* at = reinterpret_cast<std::uint64_t*>(to);
  const auto* end = at + bytes / 8;
  const auto word = hn::Set(d, 0x0123456789ABCDEFu);
  if (past_cache) {
    for (; at < end; at += step)
      hn::Stream(word, d, at);
    hwy::FlushStream();
  } else {
    for (; at < end; at += step)
      hn::Store(word, d, at);
  }
}

} // namespace viva::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::bench {

HWY_EXPORT(read_words_simd);
HWY_EXPORT(write_words_simd);

std::uint64_t read_words(const std::byte* from, std::size_t bytes) {
  return HWY_DYNAMIC_DISPATCH(read_words_simd)(from, bytes);
}

void write_words(std::byte* to, std::size_t bytes, bool past_cache) {
  HWY_DYNAMIC_DISPATCH(write_words_simd)(to, bytes, past_cache);
}

} // namespace viva::bench
#endif
