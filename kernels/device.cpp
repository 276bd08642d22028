#include "kernels/device.hpp"

#if VIVA_CUDA
#include <cuda_runtime_api.h>
#endif

#include <algorithm>
#include <new>

namespace viva::kernels {

namespace {

/// Errors of CUDA 13 by their numbers, so that builds without CUDA have the same table.
constexpr int sticky_errors[] = {
    226, // contained: an uncorrectable error, held within this process
    700, // illegal address
    702, // launch timeout
    710, // assert
    714, // hardware stack error
    715, // illegal instruction
    716, // misaligned address
    717, // invalid address space
    718, // invalid pc
    719, // launch failure
    721, // tensor memory leak
    810, // the MPS client was terminated
    911, // external device
};
constexpr int lost_errors[] = {
    214, // ECC, uncorrectable
    220, // NVLink, uncorrectable
};
constexpr int absent_errors[] = {
    34,  // a stub library instead of a driver
    35,  // the driver is older than the runtime
    46,  // devices busy or unavailable
    100, // no device
    101, // no device of this number
    802, // system not ready
    803, // driver and library do not fit
    804, // compatibility mode not supported
};
constexpr int out_of_memory = 2;

#if VIVA_CUDA
static_assert(cudaErrorMemoryAllocation == out_of_memory);
static_assert(cudaErrorContained == 226 && cudaErrorIllegalAddress == 700
              && cudaErrorLaunchTimeout == 702 && cudaErrorAssert == 710
              && cudaErrorHardwareStackError == 714 && cudaErrorIllegalInstruction == 715
              && cudaErrorMisalignedAddress == 716 && cudaErrorInvalidAddressSpace == 717
              && cudaErrorInvalidPc == 718 && cudaErrorLaunchFailure == 719
              && cudaErrorTensorMemoryLeak == 721 && cudaErrorMpsClientTerminated == 810
              && cudaErrorExternalDevice == 911);
static_assert(cudaErrorECCUncorrectable == 214 && cudaErrorNvlinkUncorrectable == 220);
static_assert(cudaErrorStubLibrary == 34 && cudaErrorInsufficientDriver == 35
              && cudaErrorDevicesUnavailable == 46 && cudaErrorNoDevice == 100
              && cudaErrorInvalidDevice == 101 && cudaErrorSystemNotReady == 802
              && cudaErrorSystemDriverMismatch == 803
              && cudaErrorCompatNotSupportedOnDevice == 804);
#endif

} // namespace

device_answer answer_of(int cuda_error) noexcept {
  const auto among = [&](const auto& errors) {
    return std::ranges::find(errors, cuda_error) != std::end(errors);
  };
  return cuda_error == 0               ? device_answer::done
         : cuda_error == out_of_memory ? device_answer::out_of_memory
         : among(sticky_errors)        ? device_answer::sticky
         : among(lost_errors)          ? device_answer::lost
         : among(absent_errors)        ? device_answer::absent
                                       : device_answer::refused;
}

errc errc_of(device_answer answer) noexcept {
  switch (answer) {
  case device_answer::done:
    return errc::ok;
  case device_answer::out_of_memory:
    return errc::over_budget;
  case device_answer::absent:
    return errc::unsupported;
  case device_answer::sticky:
  case device_answer::lost:
  case device_answer::refused:
    break;
  }
  return errc::fault;
}

#if VIVA_CUDA

namespace {

cudaStream_t stream_of(void* stream) noexcept {
  return static_cast<cudaStream_t>(stream);
}
cudaEvent_t event_of(void* event) noexcept {
  return static_cast<cudaEvent_t>(event);
}

std::string text_of_version(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

} // namespace

bool devices_built() noexcept {
  return true;
}

std::string words_of(int cuda_error) {
  const auto error = static_cast<cudaError_t>(cuda_error);
  return std::string(cudaGetErrorName(error)) + " (" + std::to_string(cuda_error)
         + "): " + cudaGetErrorString(error);
}

device_census find_devices() {
  device_census found;
  int driver = 0, count = 0;
  (void)cudaDriverGetVersion(&driver); // 0 where there is none
  found.driver = driver != 0;
  const int error = cudaGetDeviceCount(&count);
  (void)cudaGetLastError(); // what was answered here is nobody else's error
  if (!found.driver)
    found.why = "no NVIDIA driver is installed; without one, the CPU computes";
  else if (error != 0)
    found.why = "the NVIDIA driver (for CUDA " + text_of_version(driver) + ") answers "
                + words_of(error) + "; see nvidia-smi";
  else if (count == 0)
    found.why = "the NVIDIA driver finds no device; see nvidia-smi and CUDA_VISIBLE_DEVICES";
  for (int i = 0; error == 0 && i < count; ++i) {
    cudaDeviceProp facts;
    if (cudaGetDeviceProperties(&facts, i) == cudaSuccess)
      found.devices.push_back({i, facts.name, facts.major, facts.minor, facts.multiProcessorCount,
                               facts.totalGlobalMem});
  }
  return found;
}

device_bytes::device_bytes(place where, std::size_t bytes) noexcept
    : x_place(where), x_bytes(bytes) {
  x_error = where == place::device ? cudaMalloc(&x_data, std::max<std::size_t>(bytes, 1))
                                   : cudaMallocHost(&x_data, std::max<std::size_t>(bytes, 1));
  if (x_error != 0) {
    (void)cudaGetLastError();
    x_data = nullptr;
    x_bytes = 0;
  }
}

device_bytes::~device_bytes() {
  if (x_data != nullptr) // of a spoiled process, nothing can be given back
    (void)(x_place == place::device ? cudaFree(x_data) : cudaFreeHost(x_data));
}

int use_device(int number) noexcept {
  return cudaSetDevice(number);
}

device_stream::device_stream() noexcept {
  cudaStream_t stream = nullptr;
  keep(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  x_stream = stream;
  for (void** event : {&x_events[0], &x_events[1], &x_passed}) {
    cudaEvent_t made = nullptr;
    keep(event == &x_passed ? cudaEventCreateWithFlags(&made, cudaEventDisableTiming)
                            : cudaEventCreate(&made));
    *event = made;
  }
}

device_stream::~device_stream() {
  if (x_stream == nullptr)
    return;
  (void)cudaStreamSynchronize(stream_of(x_stream));
  for (void* event : {x_events[0], x_events[1], x_passed})
    if (event != nullptr)
      (void)cudaEventDestroy(event_of(event));
  (void)cudaStreamDestroy(stream_of(x_stream));
}

void device_stream::copy_in(const void* host, void* device, std::size_t bytes) noexcept {
  if (bytes != 0)
    keep(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_of(x_stream)));
}

void device_stream::copy_out(const void* device, void* host, std::size_t bytes) noexcept {
  if (bytes != 0)
    keep(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_of(x_stream)));
}

void device_stream::copy_within(const void* device, void* to, std::size_t bytes) noexcept {
  if (bytes != 0)
    keep(cudaMemcpyAsync(to, device, bytes, cudaMemcpyDeviceToDevice, stream_of(x_stream)));
}

void device_stream::clear(void* device, std::size_t bytes) noexcept {
  if (bytes != 0)
    keep(cudaMemsetAsync(device, 0, bytes, stream_of(x_stream)));
}

void device_stream::note_launch() noexcept {
  keep(cudaGetLastError());
}

void device_stream::wait_for(device_stream& other) noexcept {
  keep(cudaEventRecord(event_of(other.x_passed), stream_of(other.x_stream)));
  keep(cudaStreamWaitEvent(stream_of(x_stream), event_of(other.x_passed), 0));
}

void device_stream::mark() noexcept {
  keep(cudaEventRecord(event_of(x_events[x_marks++ % 2]), stream_of(x_stream)));
}

float device_stream::between_marks() noexcept {
  float milliseconds = -1;
  if (x_marks >= 2 && x_error == 0)
    keep(cudaEventElapsedTime(&milliseconds, event_of(x_events[x_marks % 2]),
                              event_of(x_events[(x_marks + 1) % 2])));
  return milliseconds;
}

int device_stream::finish() noexcept {
  keep(cudaStreamSynchronize(stream_of(x_stream)));
  (void)cudaGetLastError(); // it has been kept; a sticky one answers again
  for (auto& each : x_scratch)
    each.used = false;
  return std::exchange(x_error, 0);
}

#else

bool devices_built() noexcept {
  return false;
}

std::string words_of(int cuda_error) {
  return "CUDA error " + std::to_string(cuda_error);
}

device_census find_devices() {
  return {.devices = {},
          .why = "this build has no CUDA: configure where nvcc is found, or with -DVIVA_CUDA=ON"};
}

namespace {

constexpr int no_device = 100;

} // namespace

device_bytes::device_bytes(place where, std::size_t) noexcept
    : x_place(where), x_error(no_device) {}
device_bytes::~device_bytes() = default;

int use_device(int) noexcept {
  return no_device;
}

device_stream::device_stream() noexcept : x_error(no_device) {}
device_stream::~device_stream() = default;
void device_stream::copy_in(const void*, void*, std::size_t) noexcept {}
void device_stream::copy_out(const void*, void*, std::size_t) noexcept {}
void device_stream::copy_within(const void*, void*, std::size_t) noexcept {}
void device_stream::clear(void*, std::size_t) noexcept {}
void device_stream::note_launch() noexcept {}
void device_stream::wait_for(device_stream&) noexcept {}
void device_stream::mark() noexcept {}
float device_stream::between_marks() noexcept {
  return -1;
}
int device_stream::finish() noexcept {
  return no_device;
}

#endif

void* device_stream::scratch(std::size_t bytes) noexcept {
  for (auto& each : x_scratch)
    if (!each.used && each.memory.bytes() >= bytes) {
      each.used = true;
      return each.memory.data();
    }
  device_bytes more(device_bytes::place::device, std::max<std::size_t>(bytes, 256));
  if (more.data() == nullptr) {
    keep(more.error());
    return nullptr;
  }
  x_scratch.push_back({std::move(more), true});
  return x_scratch.back().memory.data();
}

} // namespace viva::kernels
