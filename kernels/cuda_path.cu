#include "kernels/cuda_path.hpp"

#include "kernels/cuda_device.cuh"
#include "kernels/device_sums.hpp"

namespace viva::kernels {

namespace {

/// Two reports: the second is what nobody reads.
__global__ void blank_reports(device_report* reports) {
  reports[0] = reports[1] = device_report{};
}

cuda_device device_of(device_queue queue) noexcept {
  return {queue.stream, queue.reports, queue.reports + 1};
}

} // namespace

std::size_t device_report_bytes() noexcept {
  return 2 * sizeof(device_report);
}

void queue_blank(device_queue queue) noexcept {
  blank_reports<<<1, 1, 0, static_cast<cudaStream_t>(queue.stream.handle())>>>(queue.reports);
  queue.stream.note_launch();
}

status queue_encode(device_queue queue, const recipe& with, const matrix& in,
                    const tensor_numbers& numbers, std::span<std::byte* const> out) {
  auto on = device_of(queue);
  const auto* method = find_device_method<cuda_device>(with.row->name);
  return method == nullptr ? status{errc::unsupported} : method->encode(on, with, in, numbers, out);
}

status queue_decode(device_queue queue, const recipe& with, std::size_t rows, std::size_t cols,
                    const tensor_numbers& numbers, std::span<const std::byte* const> in,
                    float* out) {
  auto on = device_of(queue);
  const auto* method = find_device_method<cuda_device>(with.row->name);
  return method == nullptr ? status{errc::unsupported}
                           : method->decode(on, with, rows, cols, numbers, in, out);
}

status queue_measure(device_queue queue, const matrix& in, const float* decoded,
                     device_sums* sums) {
  auto on = device_of(queue);
  return measure_on(on, in, decoded, sums);
}

status queue_survey(device_queue queue, const recipe& with, const matrix& in,
                    device_survey* found) {
  auto on = device_of(queue);
  return survey_on(on, with, in, found);
}

} // namespace viva::kernels
