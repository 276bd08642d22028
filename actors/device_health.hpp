#pragma once

// Device health: whether a device gets another lane after the last one ended. No clock, no actor.
//
//   it ended                                        then
//   told to, or killed from outside                 another
//   by a sticky error, a crash, a stall …           another; not after `deaths_max` in a row
//                                                   without work of its brought home between
//   its device lost, its known answer wrong,        none: the device is not used any more
//   or it cannot be started at all

#include <caf/error.hpp>

#include <cstdint>
#include <mutex>
#include <string>

namespace viva::actors {

/// For any thread: who speaks for the lane tells, the supervisor asks.
class device_health {
public:
  static constexpr std::uint32_t deaths_max = 3;

  /// True where this end is the one after which the device is not used any more.
  bool lane_ended(const caf::error& reason);
  /// A batch came home that had work for the device.
  void brought_batch_home();
  bool usable() const;

private:
  mutable std::mutex x_guard;
  std::uint32_t x_deaths = 0; ///< In a row.
  bool x_usable = true;
};

} // namespace viva::actors
