#pragma once

// Ward news: what the guardian's thread tells the actor that speaks for a lane's process.

#include "supervision/process.hpp"

#include <caf/allowed_unsafe_message_type.hpp>

namespace viva::actors {

struct ward_ready {};
struct ward_heard {
  supervision::frame what;
};
struct ward_ended {
  supervision::process_end how;
};

} // namespace viva::actors

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::ward_ready)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::ward_heard)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::ward_ended)
