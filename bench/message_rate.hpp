#pragma once

// What CAF itself gives, as the yardstick of one tensor a message.

#include <cstdint>

namespace viva::bench {

/// Messages per second, over all, of so many detached actors that each send themselves one empty
/// message after the other, as a pipeline's lanes do.
double messages_to_self_per_s(unsigned actors, std::uint64_t messages);

} // namespace viva::bench
