#pragma once

// The products of attention by OpenBLAS, loaded at run time where this machine has it: a yardstick.

#include <cstddef>
#include <optional>

namespace viva::bench {

/// Whether libopenblas.so.0 is here.
bool has_openblas();

/// f32 operations per second of one thread that multiplies (n, d) by (d, n) and the result by
/// (n, d), as attention of one head does, between which nothing happens; the median of
/// `repetitions`. Takes 4 n n bytes. Nothing where OpenBLAS is not here.
std::optional<double> sgemm_flops_per_s(std::size_t n, std::size_t d, unsigned repetitions);

} // namespace viva::bench
