#pragma once

// Walks what multiplies in attention: every target with f32, and every unit that takes bf16.

#include "kernels/bf16_unit.hpp"
#include "tests/kernels/targets.hpp"

namespace viva::kernels::testing {

/// On the best target with each unit of this processor that multiplies bf16.
template <class Body>
void for_each_bf16_unit(Body&& body) {
  struct restore {
    ~restore() {
      use_bf16_unit(bf16_units().front());
    }
  } at_end;
  for (const auto unit : bf16_units()) {
    INFO("bf16 unit " << static_cast<int>(unit));
    REQUIRE(use_bf16_unit(unit));
    body();
  }
}

/// On every target with f32's products; then those of bf16.
template <class Body>
void for_each_product(Body&& body) {
  for_each_target([&] { body(dtype::f32); });
  for_each_bf16_unit([&] { body(dtype::bf16); });
}

} // namespace viva::kernels::testing
