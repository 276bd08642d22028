#pragma once

// Walks every instruction set that Highway can target on this machine.

#include "kernels/target.hpp"
#include "tests/support/catch.hpp"

namespace viva::kernels::testing {

/// Runs `body` once for each target; the best one is in use again afterwards, whatever happens.
template <class Body>
void for_each_target(Body&& body) {
  struct restore {
    ~restore() {
      use_simd_target({});
    }
  } at_end;
  for (const auto name : simd_targets()) {
    REQUIRE(use_simd_target(name));
    REQUIRE(simd_target() == name);
    INFO("target " << name);
    body();
  }
}

} // namespace viva::kernels::testing
