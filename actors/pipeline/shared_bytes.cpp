#include "actors/pipeline/shared_bytes.hpp"

namespace viva::actors {

expected<std::shared_ptr<shared_region>> shared_table::make(std::uint64_t bytes, bool soon) {
  auto made = shared_region::make(bytes, x_large && !soon);
  if (made)
    enter(*made);
  return made;
}

void shared_table::enter(const std::shared_ptr<shared_region>& region) {
  const std::lock_guard lock{x_guard};
  std::erase_if(x_regions, [](const auto& each) { return each.second.expired(); });
  region->id = ++x_last_id;
  region->on_gone = x_on_gone;
  x_regions[region->data()] = region;
}

std::optional<shared_table::place> shared_table::find(const std::byte* from,
                                                      std::uint64_t bytes) const {
  std::shared_ptr<shared_region> region; // let go of, if it is the last, after the lock
  const std::lock_guard lock{x_guard};
  auto after = x_regions.upper_bound(from);
  if (after == x_regions.begin())
    return std::nullopt;
  region = std::prev(after)->second.lock();
  if (!region)
    return std::nullopt;
  const auto offset = static_cast<std::uint64_t>(from - region->data());
  if (offset > region->size() || bytes > region->size() - offset)
    return std::nullopt;
  return place{std::move(region), offset};
}

} // namespace viva::actors
