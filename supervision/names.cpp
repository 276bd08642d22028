#include "supervision/names.hpp"

#include <caf/actor_cast.hpp>

#include <utility>

namespace viva::supervision {

caf::error names::put(std::string name, const caf::actor& who) {
  std::lock_guard lock{x_guard};
  auto [slot, fresh] = x_owners.try_emplace(std::move(name), who.address());
  if (fresh || slot->second == who.address())
    return {};
  if (caf::actor_cast<caf::actor>(slot->second))
    return make_error(fault::name_taken, slot->first);
  slot->second = who.address(); // its owner is gone without a word
  return {};
}

void names::erase(const std::string& name, const caf::actor_addr& who) {
  std::lock_guard lock{x_guard};
  auto slot = x_owners.find(name);
  if (slot != x_owners.end() && slot->second == who)
    x_owners.erase(slot);
}

caf::actor names::find(const std::string& name) const {
  std::lock_guard lock{x_guard};
  auto slot = x_owners.find(name);
  return slot == x_owners.end() ? caf::actor{} : caf::actor_cast<caf::actor>(slot->second);
}

std::size_t names::count() const {
  std::lock_guard lock{x_guard};
  return x_owners.size();
}

} // namespace viva::supervision
