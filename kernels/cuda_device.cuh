#pragma once

// The device that runs device code (device_code.hpp): kernels queued on one stream.

#include "kernels/device.hpp"
#include "kernels/device_methods.hpp"
#include "kernels/team.cuh"
#include "kernels/tile.hpp"

#include <cuda_runtime.h>

namespace viva::kernels {

inline constexpr unsigned block_threads = 256;

template <class Op>
__global__ void __launch_bounds__(block_threads) each_kernel(Op op, std::size_t count) {
  const std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count)
    op(i);
}

/// Teams within warps. A team without a unit leaves as a whole.
template <class Op>
__global__ void __launch_bounds__(block_threads)
    warps_kernel(Op op, std::size_t count, unsigned lanes) {
  const std::size_t unit = (std::size_t{blockIdx.x} * blockDim.x + threadIdx.x) / lanes;
  if (unit < count)
    op(warp_team(lanes), unit);
}

template <class Op>
__global__ void __launch_bounds__(block_threads) blocks_kernel(Op op) {
  op(block_team(), std::size_t{blockIdx.x});
}

template <class Op>
__global__ void __launch_bounds__(block_threads) tiles_kernel(Op op, std::size_t count) {
  extern __shared__ std::byte tile_memory[];
  auto* const rows = reinterpret_cast<float*>(tile_memory);
  auto* const records = tile_memory + op.io.record_offset();
  const std::size_t first = std::size_t{blockIdx.x} * blockDim.x;
  const auto blocks =
      static_cast<unsigned>(count - first < blockDim.x ? count - first : blockDim.x);
  stage_in(op.io, first, blocks, threadIdx.x, blockDim.x, rows);
  __syncthreads();
  if (threadIdx.x < blocks)
    encode_own(op, first, threadIdx.x, rows, records);
  __syncthreads();
  stage_out(op.io, first, blocks, threadIdx.x, blockDim.x, records);
}

/// Queues device code on a stream. A launch that CUDA refuses is kept by the stream.
class cuda_device {
public:
  cuda_device(device_stream& stream, device_report* report, device_report* unread) noexcept
      : x_stream(stream), x_report(report), x_unread(unread) {}

  template <class Op>
  void each(std::size_t count, const Op& op) {
    if (count != 0)
      each_kernel<<<grid(count), block_threads, 0, stream()>>>(op, count);
    x_stream.note_launch();
  }

  template <class Op>
  void teams(std::size_t count, unsigned lanes, const Op& op) {
    if (count == 0)
      return;
    if (lanes <= 32) {
      warps_kernel<<<grid(count * lanes), block_threads, 0, stream()>>>(op, count, lanes);
    } else if constexpr (!Op::within_warp) {
      blocks_kernel<<<static_cast<unsigned>(count), lanes, 0, stream()>>>(op);
    }
    x_stream.note_launch();
  }

  template <class Op>
  void tiles(std::size_t count, const Op& op) {
    const unsigned threads = op.io.threads();
    if (count != 0)
      tiles_kernel<<<static_cast<unsigned>((count + threads - 1) / threads), threads,
                     op.io.shared_bytes(), stream()>>>(op, count);
    x_stream.note_launch();
  }

  /// Kept until the stream has done what is queued on it when this goes.
  template <class T>
  T* scratch(std::size_t count) {
    return static_cast<T*>(x_stream.scratch(count * sizeof(T)));
  }
  void clear(std::byte* at, std::size_t bytes) {
    x_stream.clear(at, bytes);
  }
  const float* upload(std::span<const float> values) {
    auto* const to = scratch<float>(values.size());
    if (to != nullptr)
      x_stream.copy_in(values.data(), to, values.size_bytes());
    return to;
  }

  device_report* report() const noexcept {
    return x_ignored ? x_unread : x_report;
  }
  void ignore_reports(bool yes) noexcept {
    x_ignored = yes;
  }

private:
  static unsigned grid(std::size_t threads) noexcept {
    return static_cast<unsigned>((threads + block_threads - 1) / block_threads);
  }
  cudaStream_t stream() const noexcept {
    return static_cast<cudaStream_t>(x_stream.handle());
  }

  device_stream& x_stream;
  device_report* x_report;
  device_report* x_unread;
  bool x_ignored = false;
};

} // namespace viva::kernels
