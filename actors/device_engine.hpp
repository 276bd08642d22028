#pragma once

// Device engine: a device computes, and what it does not do the processor does.
//
//   the device answers             then
//   done                           that is it
//   no memory, even for one run    the processor does this one; runs got shorter before (slot_runs)
//   not for this method or shape   the processor does this one
//   a refusal: NaN, no such bytes  the processor looks, and what it says counts
//   sticky (device.hpp)            this process ends with 71: nothing it made since the last proof
//                                  may be kept
//   lost, or not there any more    this process ends with 72, and the device gets no other
//
// What is not here, CUDA itself, is behind `device_worker`; so tests have devices of their own.

#include "actors/engine.hpp"
#include "kernels/device.hpp"

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

namespace viva::actors {

enum class device_step : std::uint8_t { keep, processor, end_sticky, end_lost };

/// The table above. `error` is CUDA's, and counts where the status is a fault.
device_step next_step(status said, int error) noexcept;
/// Of an error that is waited for, not computed with: 0 is well.
device_step next_step(int error) noexcept;

/// This process cannot go on; `exit_code` of supervision's exit_words.
struct device_ended : std::runtime_error {
  int exit_code;
  device_ended(int code, const std::string& words) : std::runtime_error(words), exit_code(code) {
  }
};

/// A device, as kernels::device_worker is one.
class device_at_work {
public:
  virtual ~device_at_work() = default;
  virtual status encode(const kernels::recipe&, const kernels::matrix& in,
                                 const kernels::tensor_numbers&, std::span<std::byte* const> out,
                                 kernels::error_sums* sums) = 0;
  virtual status decode(const kernels::recipe&, std::size_t rows, std::size_t cols,
                                 const kernels::tensor_numbers&,
                                 std::span<const std::byte* const> in, float* out) = 0;
  virtual status survey(const kernels::recipe&, const kernels::matrix& in,
                                 kernels::survey& found) = 0;
  virtual int error() const = 0;
  virtual int finish() = 0;
};

/// Takes the number of a device. Throws device_ended where it is not to be had.
using device_opener = std::function<std::unique_ptr<device_at_work>(int number)>;
std::unique_ptr<device_at_work> open_cuda_device(int number);

class device_engine final : public engine {
public:
  explicit device_engine(std::unique_ptr<device_at_work> device) : x_device(std::move(device)) {
  }

  status encode(const kernels::recipe&, const kernels::matrix& in,
                         const kernels::tensor_numbers&, std::span<std::byte* const> out,
                         kernels::error_sums& sums) override;
  status decode(const kernels::recipe&, std::size_t rows, std::size_t cols,
                         const kernels::tensor_numbers&, std::span<const std::byte* const> in,
                         float* out) override;
  status survey(const kernels::recipe&, const kernels::matrix& in,
                         kernels::survey& found) override;
  std::uint64_t run_values(std::uint64_t cached) const noexcept override;

  /// False: the processor does all until it is true again.
  void use_device(bool yes) noexcept {
    x_used = yes;
  }
  /// True: the device is taken to have no memory; a fault put in on purpose.
  void pretend_no_memory(bool yes) noexcept {
    x_no_memory = yes;
  }
  /// Encodes on the device alone, for its known answer; only shapes that it cannot take are left to
  /// the processor.
  status prove_by(const kernels::recipe&, const kernels::matrix& in,
                  const kernels::tensor_numbers&, std::span<std::byte* const> out);
  /// Waits for the device. Throws where it is spoiled: then nothing since the last proof is kept.
  void prove();

private:
  template <class Call>
  bool by_device(const Call& call);

  std::unique_ptr<device_at_work> x_device;
  bool x_used = true, x_no_memory = false;
};

/// What a device lane holds in memory of the host, beside what every lane does: a run's source and
/// what comes of it, and pinned memory for two of the device's own runs.
inline constexpr std::uint64_t device_run_values = std::uint64_t{4} << 20;
inline constexpr std::uint64_t device_lane_bytes = 96ull << 20;

} // namespace viva::actors
