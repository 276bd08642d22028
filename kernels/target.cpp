#include "kernels/target.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/target.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

const char* target_name() {
  return hwy::TargetName(HWY_TARGET);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

// Highway's library measures the timer of its benchmarks in a static initializer: 4 to 5 ms of
// each process, half of a lane's start. This definition takes the place of the library's, whose
// only other caller is hwy::Measure, which nobody here calls.
namespace hwy::platform {
std::uint64_t TimerResolution();
std::uint64_t TimerResolution() {
  return 1;
}
} // namespace hwy::platform

namespace viva::kernels {

HWY_EXPORT(target_name);

namespace {

/// Target bits, best first. Highway's own list leaves the static fallback out where better exist.
std::vector<std::int64_t> target_bits() {
  hwy::SetSupportedTargetsForTest(0);
  const std::int64_t bits = (hwy::SupportedTargets() & HWY_TARGETS) | HWY_STATIC_TARGET;
  std::vector<std::int64_t> each;
  for (std::int64_t rest = bits; rest != 0; rest &= rest - 1)
    each.push_back(rest & -rest);
  return each;
}

} // namespace

std::string_view simd_target() noexcept {
  return HWY_DYNAMIC_DISPATCH(target_name)();
}

std::vector<std::string_view> simd_targets() {
  const std::string_view now = simd_target();
  std::vector<std::string_view> names;
  for (const auto bit : target_bits())
    names.emplace_back(hwy::TargetName(bit));
  use_simd_target(now);
  return names;
}

bool use_simd_target(std::string_view name) {
  const auto bits = target_bits(); // and back to the best
  if (name.empty())
    return true;
  for (const auto bit : bits)
    if (name == hwy::TargetName(bit)) {
      hwy::SetSupportedTargetsForTest(bit);
      return true;
    }
  return false;
}

} // namespace viva::kernels
#endif
