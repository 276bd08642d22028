#include "supervision/child.hpp"

#include <algorithm>
#include <string_view>
#include <unordered_set>

namespace viva::supervision {
namespace {

caf::error refuse(std::string_view what, const std::string& id) {
  return make_error(fault::bad_spec, id.empty() ? std::string{what} : std::string{what} + " " + id);
}

} // namespace

caf::error check(child_spec& spec, auto_shutdown mode) {
  if (spec.id.empty())
    return refuse("missing_id", spec.id);
  if (!spec.start)
    return refuse("missing_start", spec.id);
  if (spec.restart > temporary)
    return refuse("invalid_restart_type", spec.id);
  if (spec.type > child_type::supervisor)
    return refuse("invalid_child_type", spec.id);
  if (!spec.shutdown)
    spec.shutdown = spec.type == child_type::worker ? shutdown_policy{}
                                                    : shutdown_policy::infinity();
  if (spec.shutdown->how > shutdown_policy::kind::infinity || spec.shutdown->patience.count() < 0)
    return refuse("invalid_shutdown", spec.id);
  if (spec.start_timeout.count() < 0)
    return refuse("invalid_start_timeout", spec.id);
  return check_significance(spec, mode);
}

caf::error check_significance(const child_spec& spec, auto_shutdown mode) {
  if (spec.significant && (mode == auto_shutdown::never || spec.restart == permanent))
    return refuse("bad_combination", spec.id);
  return {};
}

caf::error check_childspecs(std::vector<child_spec>& specs, strategy s, auto_shutdown mode) {
  if (s == strategy::simple_one_for_one && specs.size() != 1)
    return refuse("bad_start_spec", {});
  std::unordered_set<std::string_view> seen;
  for (auto& spec : specs) {
    if (auto why = check(spec, mode))
      return why;
    if (!seen.insert(spec.id).second)
      return refuse("duplicate_child_name", spec.id);
  }
  return {};
}

} // namespace viva::supervision
