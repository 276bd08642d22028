#pragma once

// Engine: what computes the values of a shard. This processor, or a device with the processor
// behind it (device_engine.hpp); the bytes, values and error sums are the same.

#include "kernels/metrics.hpp"
#include "kernels/registry.hpp"

namespace viva::actors {

/// The processor.
class engine {
public:
  virtual ~engine() = default;

  /// As kernels::encode_and_measure; errors are added to `sums`.
  virtual status encode(const kernels::recipe&, const kernels::matrix& in,
                                 const kernels::tensor_numbers&, std::span<std::byte* const> out,
                                 kernels::error_sums& sums);
  virtual status decode(const kernels::recipe&, std::size_t rows, std::size_t cols,
                                 const kernels::tensor_numbers&,
                                 std::span<const std::byte* const> in, float* out);
  virtual status survey(const kernels::recipe&, const kernels::matrix& in,
                                 kernels::survey& found);
  /// Values it is to be given at a time, where `cached` suit a processor's cache.
  virtual std::uint64_t run_values(std::uint64_t cached) const noexcept;
};

/// For whoever has no device. Without state, so for any thread.
engine& processor() noexcept;

} // namespace viva::actors
