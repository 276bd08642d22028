#pragma once

// Survey bytes: what the shards of a survey tell, as receipts and journal carry it.

#include "kernels/registry.hpp"

#include <string>
#include <string_view>

namespace viva::actors {

std::string encode_survey(const kernels::survey&);
/// False where the bytes are not what `encode_survey` writes.
bool decode_survey(std::string_view bytes, kernels::survey& out);

} // namespace viva::actors
