#pragma once

// Which instruction set the SIMD paths use: the best one of this machine, or one that a test or a
// benchmark asks for.

#include <string_view>
#include <vector>

namespace viva::kernels {

/// The Highway target in use ("AVX2", …). Also in registry.hpp, for those who only report it.
std::string_view simd_target() noexcept;

/// Every target compiled in that this machine can run, best first; the portable fallback last.
std::vector<std::string_view> simd_targets();

/// Makes the SIMD paths use the target of this name; an empty name goes back to the best. False
/// where it is none of `simd_targets()`. Not while kernels run on other threads.
bool use_simd_target(std::string_view name);

} // namespace viva::kernels
