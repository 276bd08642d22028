#pragma once

// How device code cuts values into runs, and the join of a run's keys.

#include "kernels/portability.hpp"

#include <cstddef>

namespace viva::kernels {

struct larger {
  template <class T>
  VIVA_HD T operator()(T a, T b) const noexcept {
    return a < b ? b : a;
  }
};

/// How a run of `values` is cut: unit u is [u * run, (u + 1) * run), the last one shorter.
struct run_cut {
  std::size_t values = 0, run = 1;

  VIVA_HD std::size_t first(std::size_t unit) const noexcept {
    return unit * run;
  }
  VIVA_HD std::size_t count(std::size_t unit) const noexcept {
    const std::size_t left = values - unit * run;
    return left < run ? left : run;
  }
};

} // namespace viva::kernels
