#pragma once

// How fast every method of the registry encodes, measures and decodes, beside what the machine's
// memory allows in the same repetition.
//
// One repetition runs, in turn, a read, a write and a copy of the same buffers and then every case
// of a method; a case's ratio is the median over repetitions of (its limit's seconds / its seconds)
// for the same bytes. So a noisy neighbour meets both sides.

#include "kernels/dtype.hpp"
#include "kernels/error.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace viva::bench {

struct kernels_bench_options {
  std::string method;       ///< With its options; empty: every method, int4's options, searches.
  bool weighed = false;     ///< Of `method`: columns weigh differently, as with --stats.
  std::string only;         ///< encode, measure, decode, survey or scales; empty: all of them.
  std::uint64_t values = 0; ///< 0: 256 Ki (in cache), then 64 Mi or more, out of it.
  kernels::dtype type = kernels::dtype::f32;
  unsigned threads = 1;
  unsigned repetitions = 9;
};

/// One case. A line of --json.
struct bench_line {
  std::string method; ///< "machine" for read, write and copy; "NAME weighed" where columns weigh.
  /// encode, measure (encode and error sums), decode, survey, scales (awq's search for the scales
  /// of columns); read, write, copy
  std::string op;
  std::string path; ///< reference or simd
  std::string isa;  ///< Highway's name of the instruction set.
  kernels::dtype type = kernels::dtype::f32;
  std::uint64_t values = 0;
  unsigned threads = 1;
  double values_per_s = 0;
  double mad = 0; ///< Of values_per_s.
  double bytes_per_s = 0;
  /// Of the bytes it reads (encode, measure, survey, scales) or writes (decode), against the
  /// machine's.
  std::optional<double> ratio_to_limit;
  std::optional<double> ratio_to_reference; ///< The reference's in the cache.
};

/// Runs all; hands each line over as soon as it is known. Refuses words that are no method.
expected<void> run_kernels_bench(const kernels_bench_options&,
                                 const std::function<void(const bench_line&)>& each);

} // namespace viva::bench
