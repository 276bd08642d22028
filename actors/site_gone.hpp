#pragma once

#include "actors/messages.hpp"

namespace viva::actors {

/// To a lane: nobody will give it work on this site any more. A port lets its process let go of the
/// job's files; a lane that is a thread holds none.
struct site_gone {
  std::weak_ptr<const job_site> site;
};

} // namespace viva::actors

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::site_gone)
