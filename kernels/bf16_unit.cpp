#include "kernels/bf16_unit.hpp"

#include <algorithm>
#include <array>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace viva::kernels {
namespace {

struct unit_list {
  std::array<bf16_unit, 3> each{};
  std::size_t count = 0;
  bf16_unit in_use;

  unit_list() {
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
    const bool pairs = __builtin_cpu_supports("avx512bf16") != 0;
    // Weights go to tiles by AVX-512's conversion.
    if (pairs && __builtin_cpu_supports("amx-bf16") && tiles_granted())
      add(bf16_unit::tiles);
    // Intel's do half of what f32's multiply-adds do (measured on Emerald Rapids), AMD's twice.
    if (pairs && !__builtin_cpu_is("intel"))
      add(bf16_unit::pairs);
    add(bf16_unit::widened);
    if (pairs && __builtin_cpu_is("intel"))
      add(bf16_unit::pairs);
#else
    add(bf16_unit::widened);
#endif
    in_use = each[0];
  }
  void add(bf16_unit unit) {
    each[count++] = unit;
  }
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
  /// The registers are 8 KiB of a thread's state, which Linux keeps only for processes that ask.
  static bool tiles_granted() {
    constexpr long request_permission = 0x1023, tile_data = 18; // asm/prctl.h
    return ::syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
  }
#endif
};

unit_list& units() {
  static unit_list list;
  return list;
}

} // namespace

std::span<const bf16_unit> bf16_units() noexcept {
  return {units().each.data(), units().count};
}

bf16_unit bf16_unit_in_use() noexcept {
  return units().in_use;
}

bool use_bf16_unit(bf16_unit unit) noexcept {
  if (std::ranges::find(bf16_units(), unit) == bf16_units().end())
    return false;
  units().in_use = unit;
  return true;
}

} // namespace viva::kernels
