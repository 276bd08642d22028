#pragma once

#include <cstdint>

namespace viva {

/// What a lane is, hence what its death takes along.
enum class isolation : std::uint8_t {
  thread,  ///< Of this process: an exception costs a lane, a segfault the program.
  process, ///< Of its own: any death costs a lane, and no tensor byte is sent to or from it.
};

} // namespace viva
