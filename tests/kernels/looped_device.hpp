#pragma once

// A device of plain loops: every lane of every team one after the other, units from the last to the
// first. It runs the very code that CUDA runs.

#include "kernels/device_block_methods.hpp"
#include "kernels/device_group_methods.hpp"
#include "kernels/device_level_methods.hpp"
#include "kernels/device_row_methods.hpp"
#include "kernels/device_stacks.hpp"
#include "kernels/device_sums.hpp"

#include <memory>
#include <vector>

namespace viva::kernels::testing {

class looped_device {
public:
  template <class Op>
  void each(std::size_t count, const Op& op) {
    for_each_unit(count, [&](std::size_t i) { op(i); });
  }

  template <class Op>
  void teams(std::size_t count, unsigned lanes, const Op& op) {
    const looped_team team(lanes);
    for_each_unit(count, [&](std::size_t i) { op(team, i); });
  }

  template <class Op>
  void tiles(std::size_t count, const Op& op) {
    const tile_io& io = op.io;
    const unsigned threads = io.threads();
    std::vector<float> rows(io.record_offset() / sizeof(float));
    std::vector<std::byte> records(std::size_t{threads} * io.record_bytes);
    for_each_unit((count + threads - 1) / threads, [&](std::size_t tile) {
      const std::size_t first = tile * threads;
      const auto blocks = static_cast<unsigned>(std::min<std::size_t>(threads, count - first));
      for (unsigned t = 0; t < threads; ++t)
        stage_in(io, first, blocks, t, threads, rows.data());
      for (unsigned t = 0; t < blocks; ++t)
        encode_own(op, first, t, rows.data(), records.data());
      for (unsigned t = 0; t < threads; ++t)
        stage_out(io, first, blocks, t, threads, records.data());
    });
  }

  template <class T>
  T* scratch(std::size_t count) {
    x_memory.push_back(std::make_unique<std::byte[]>(count * sizeof(T) + 1));
    std::fill_n(x_memory.back().get(), count * sizeof(T), std::byte{0xC3});
    return reinterpret_cast<T*>(x_memory.back().get());
  }

  void clear(std::byte* at, std::size_t bytes) {
    std::fill_n(at, bytes, std::byte{0});
  }

  const float* upload(std::span<const float> values) {
    auto* to = scratch<float>(values.size());
    std::ranges::copy(values, to);
    return to;
  }

  device_report* report() {
    return x_ignored ? &x_unread : &x_report;
  }
  void ignore_reports(bool yes) {
    x_ignored = yes;
  }

  /// What all kernels since found, as a method answers.
  status finish() const {
    if (x_report.not_finite != device_report::none)
      return {errc::not_finite, x_report.not_finite};
    return x_report.malformed != 0 ? status{errc::malformed} : status{};
  }

private:
  /// Backwards: where a result depends on the order of units, it shows.
  template <class Body>
  static void for_each_unit(std::size_t count, const Body& body) {
    for (std::size_t i = count; i-- > 0;)
      body(i);
  }

  std::vector<std::unique_ptr<std::byte[]>> x_memory;
  device_report x_report, x_unread;
  bool x_ignored = false;
};

} // namespace viva::kernels::testing
