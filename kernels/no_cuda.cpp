// The path cuda in builds without it.

#include "kernels/cuda_attention.hpp"
#include "kernels/cuda_path.hpp"

namespace viva::kernels {

struct device_worker::state {};

std::size_t device_report_bytes() noexcept {
  return 0;
}
void queue_blank(device_queue) noexcept {}
status queue_encode(device_queue, const recipe&, const matrix&, const tensor_numbers&,
                    std::span<std::byte* const>) {
  return {errc::unsupported};
}
status queue_decode(device_queue, const recipe&, std::size_t, std::size_t, const tensor_numbers&,
                    std::span<const std::byte* const>, float*) {
  return {errc::unsupported};
}
status queue_measure(device_queue, const matrix&, const float*, device_sums*) {
  return {errc::unsupported};
}
status queue_survey(device_queue, const recipe&, const matrix&, device_survey*) {
  return {errc::unsupported};
}

status attention::queue_attend(device_stream&, const shape&, const inputs&, const outputs&) {
  return {errc::unsupported};
}

expected<std::unique_ptr<device_worker>> device_worker::open(int, std::size_t) {
  return fail(errc::unsupported, find_devices().why);
}
device_worker::device_worker(std::unique_ptr<state>) noexcept {}
device_worker::~device_worker() = default;
status device_worker::encode(const recipe&, const matrix&, const tensor_numbers&,
                             std::span<std::byte* const>, error_sums*) {
  return {errc::unsupported};
}
status device_worker::decode(const recipe&, std::size_t, std::size_t, const tensor_numbers&,
                             std::span<const std::byte* const>, float*) {
  return {errc::unsupported};
}
status device_worker::survey(const recipe&, const matrix&, kernels::survey&) {
  return {errc::unsupported};
}
int device_worker::error() const noexcept {
  return 0;
}
int device_worker::finish() {
  return 0;
}

} // namespace viva::kernels
