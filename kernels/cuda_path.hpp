#pragma once

// The path cuda: every method on a device.
//
// `queue_…` put kernels on a stream; source, planes and results lie in memory of the device, and
// what was refused stands in the queue's report once the stream has finished. `device_worker` does
// the same from and to memory of the host, as the registry's functions do. Bytes, values, sums and
// surveys are the reference's, bit for bit, wherever a method's header says so of its paths.
//
// Without CUDA in the build, nothing is queued: `unsupported`.

#include "kernels/device.hpp"
#include "kernels/metrics.hpp"
#include "kernels/registry.hpp"

#include <memory>

namespace viva::kernels {

struct device_report;
struct device_sums;
struct device_survey;

/// Where kernels are put, and where they report: memory of the device, `device_report_bytes` long.
struct device_queue {
  device_stream& stream;
  device_report* reports;
};
std::size_t device_report_bytes() noexcept;

/// Makes reports blank. Once before each call whose answer is wanted.
void queue_blank(device_queue) noexcept;
status queue_encode(device_queue, const recipe&, const matrix& in, const tensor_numbers&,
                    std::span<std::byte* const> out);
status queue_decode(device_queue, const recipe&, std::size_t rows, std::size_t cols,
                    const tensor_numbers&, std::span<const std::byte* const> in, float* out);
/// Adds errors to sums that `queue` zeroed before; see device_measure.hpp.
status queue_measure(device_queue, const matrix& in, const float* decoded, device_sums*);
status queue_survey(device_queue, const recipe&, const matrix& in, device_survey*);

/// One device at work on memory of the host, for one thread: runs of rows go in, are computed and
/// come out while the next are on their way. `status` as the registry's functions answer;
/// `over_budget` where the device has no memory even for the smallest run, `fault` where `error()`
/// says what CUDA answered.
class device_worker {
public:
  /// `bytes_max` of device memory and as much pinned memory; 0 for what suits the methods.
  static expected<std::unique_ptr<device_worker>> open(int number, std::size_t bytes_max = 0);
  ~device_worker();

  /// As encode_and_measure. Memory of the host may be unaligned, and need not be pinned.
  status encode(const recipe&, const matrix& in, const tensor_numbers&,
                std::span<std::byte* const> out, error_sums* sums);
  status decode(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                std::span<const std::byte* const> in, float* out);
  status survey(const recipe&, const matrix& in, kernels::survey& found);

  /// The last cudaError_t that was not 0.
  int error() const noexcept;
  /// Waits for all there is. The first cudaError_t of what was not told yet, or 0: what was made
  /// before is sound as far as the device knows.
  int finish();

private:
  struct state;
  explicit device_worker(std::unique_ptr<state>) noexcept;
  std::unique_ptr<state> x_state;
};

} // namespace viva::kernels
