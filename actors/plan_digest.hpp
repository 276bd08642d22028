#pragma once

// Plan digest: all of a plan that shard numbers, ranges and values depend on, in one number. Unlike
// the fingerprint it does not tell one file from its copy: two machines whose plans have one digest
// cut the same shards out of equal bytes.

#include "actors/plan.hpp"

#include <string>

namespace viva::actors {

/// 16 hexadecimal digits.
std::string plan_digest(const plan&);

} // namespace viva::actors
