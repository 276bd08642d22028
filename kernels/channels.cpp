#include "kernels/channels.hpp"

#include "kernels/awq.hpp"
#include "kernels/int4.hpp"

namespace viva::kernels {

bool weighs_channels(const recipe& with) noexcept {
  const auto name = with.row->name;
  if (name == "int4")
    return (with.flags & int4::search) != 0;
  if (name == "awq") // the search for ranges
    return (with.flags & (awq::no_clip | awq::rtn)) == 0;
  return name.starts_with("sparse24") // the choice of what is kept
         || name == "q4_0" || name == "q4_1" || name == "q5_0" || name == "q5_1"
         || name == "nvfp4-four-or-six";
}

} // namespace viva::kernels
