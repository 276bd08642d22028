#pragma once

// Devices: the only owner of their memory, their streams, events and pinned memory. What CUDA
// answers becomes a `device_answer` here and an errc from there; no other file sees a cudaError_t.
//
// Sticky    After some errors every call of the process fails, or worse, answers wrong: nothing
// that
//           this process computed since it last knew better may be kept, and it must end. CUDA 13's
//           driver_types.h says of which ("the process must be terminated and relaunched").
// Builds    without CUDA have all of this, too: no device is found, and `why` says so.

#include "kernels/error.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace viva::kernels {

enum class device_answer : std::uint8_t {
  done,
  out_of_memory, ///< Of the device: the same call with less may succeed.
  sticky,        ///< The process is spoiled and must end.
  lost,          ///< The device itself is spoiled: no process should use it.
  absent,        ///< No device, no driver, or one that does not fit the other.
  refused,       ///< Anything else: our own mistake, or a passing one.
};

/// What a cudaError_t means.
device_answer answer_of(int cuda_error) noexcept;
/// over_budget, fault or unsupported; ok where it is done.
errc errc_of(device_answer) noexcept;
/// "cudaErrorIllegalAddress (700): an illegal memory access was encountered".
std::string words_of(int cuda_error);

/// True where kernels for devices were compiled; else no device is ever found.
bool devices_built() noexcept;

struct device_facts {
  int number = 0; ///< As `--devices` counts them.
  std::string name;
  int major = 0, minor = 0; ///< Compute capability.
  int processors = 0;       ///< Multiprocessors.
  std::uint64_t memory_bytes = 0;
};

struct device_census {
  std::vector<device_facts> devices;
  bool driver = false; ///< A driver is there, whatever it answered.
  std::string why;     ///< Why there are no devices, and what to do; empty where there are.
};

/// Looks anew; some 100 ms where a driver must wake.
device_census find_devices();

/// Bytes of a device, or pinned ones of the host; null where there are none left.
class device_bytes {
public:
  enum class place : std::uint8_t { device, pinned };
  device_bytes() = default;
  device_bytes(place, std::size_t bytes) noexcept;
  ~device_bytes();
  device_bytes(device_bytes&& other) noexcept
      : x_place(other.x_place), x_data(std::exchange(other.x_data, nullptr)),
        x_bytes(std::exchange(other.x_bytes, 0)), x_error(other.x_error) {}
  device_bytes& operator=(device_bytes&& other) noexcept {
    std::swap(x_place, other.x_place);
    std::swap(x_data, other.x_data);
    std::swap(x_bytes, other.x_bytes);
    std::swap(x_error, other.x_error);
    return *this;
  }

  std::byte* data() const noexcept {
    return static_cast<std::byte*>(x_data);
  }
  std::size_t bytes() const noexcept {
    return x_bytes;
  }
  /// The cudaError_t of a failed allocation.
  int error() const noexcept {
    return x_error;
  }

private:
  place x_place = place::device;
  void* x_data = nullptr;
  std::size_t x_bytes = 0;
  int x_error = 0;
};

/// Makes `number` the device of the calling thread. The cudaError_t.
int use_device(int number) noexcept;

/// A queue of copies and kernels on the device of the thread that made it. The first error of all
/// that is queued is kept until `finish`.
class device_stream {
public:
  device_stream() noexcept;
  ~device_stream();
  device_stream(const device_stream&) = delete;
  device_stream& operator=(const device_stream&) = delete;

  void copy_in(const void* host, void* device, std::size_t bytes) noexcept;
  void copy_out(const void* device, void* host, std::size_t bytes) noexcept;
  void copy_within(const void* device, void* to, std::size_t bytes) noexcept;
  void clear(void* device, std::size_t bytes) noexcept;
  /// Memory for kernels queued from now on, until `finish`; null where there is none left.
  void* scratch(std::size_t bytes) noexcept;
  /// Keeps the error of the kernel that was just launched, if it has one.
  void note_launch() noexcept;
  /// What is queued here from now on waits for all that is queued on `other` so far.
  void wait_for(device_stream& other) noexcept;
  /// Milliseconds between the last two marks, both passed; less than 0 where there are none.
  void mark() noexcept;
  float between_marks() noexcept;

  /// Waits for all that is queued. The first cudaError_t since the last call; 0 where all is done.
  int finish() noexcept;

  void* handle() const noexcept {
    return x_stream;
  }

private:
  void keep(int error) noexcept {
    x_error = x_error != 0 ? x_error : error;
  }
  struct piece {
    device_bytes memory;
    bool used = false;
  };

  void* x_stream = nullptr;
  void* x_events[2] = {nullptr, nullptr}; ///< Marks.
  void* x_passed = nullptr;               ///< What others wait for.
  unsigned x_marks = 0;
  std::vector<piece> x_scratch;
  int x_error = 0;
};

} // namespace viva::kernels
