#pragma once

// The field on which throughput is measured: source, results, and what each result must be.

#include "actors/pipeline/encoded.hpp"
#include "actors/pipeline/tensor_view.hpp"
#include "kernels/registry.hpp"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace viva::bench {

/// work(0) … work(threads - 1) on plain threads, where the system puts them: a pinned thread would
/// pin the lanes that are started from it.
void on_threads(unsigned threads, const std::function<void(unsigned part)>& work);

class throughput_field {
public:
  /// Where sources and results lie, at multiples of 64; the caller's, for as long as the field is.
  struct memory {
    std::span<std::byte> source, results;
  };
  /// Bytes that such a field needs.
  static std::uint64_t source_bytes_of(std::uint64_t tensors, std::uint64_t values);
  static std::uint64_t result_bytes_of(const kernels::recipe& how, std::uint64_t tensors,
                                       std::uint64_t values);

  throughput_field(const kernels::recipe& how, std::uint64_t tensors, std::uint64_t values,
                   unsigned threads, memory where);

  std::uint64_t tensors() const noexcept {
    return x_tensors;
  }
  std::uint64_t source_bytes() const noexcept {
    return x_tensors * x_values * sizeof(float);
  }
  tensor_view view(std::uint64_t i) const noexcept {
    return {reinterpret_cast<const std::byte*>(x_source + i * x_values), 1, x_values, 0,
            dtype::f32};
  }
  std::span<std::byte> results() noexcept {
    return {x_results, x_tensors * x_map.total};
  }

  /// The bare loop over tensors [first, last): the kernel, and nothing else.
  void encode(std::uint64_t first, std::uint64_t last) noexcept;
  /// Wipes the first `count` results, so that none of an earlier run can be taken for a new one.
  void wipe(std::uint64_t count);
  /// How many of the first `count` results are not the reference's.
  std::uint64_t wrong(std::uint64_t count);

private:
  std::uint64_t digest(std::uint64_t i) const noexcept;
  void share(std::uint64_t count, const std::function<void(std::uint64_t, std::uint64_t)>& work);

  const kernels::recipe x_how;
  const std::uint64_t x_tensors, x_values;
  const plane_map x_map;
  const unsigned x_threads;
  float* const x_source;
  std::byte* const x_results;
  std::vector<std::uint64_t> x_must;
};

} // namespace viva::bench
