#pragma once

// Names: which living actor answers to a name.
//
// CAF's own registry ignores a taken name in silence, keeps the dead, and holds strong handles.
// Here a taken name is refused, a name goes when its owner ends (before the restart that reuses
// it), and a handle is never kept alive by its name.

#include "supervision/flat_table.hpp"
#include "supervision/reason.hpp"

#include <caf/actor.hpp>
#include <caf/actor_addr.hpp>

#include <mutex>
#include <string>
#include <string_view>

namespace viva::supervision {

class names {
public:
  /// `fault::name_taken` if another living actor has it.
  caf::error put(std::string name, const caf::actor& who);

  /// Frees the name if `who` still owns it.
  void erase(const std::string& name, const caf::actor_addr& who);

  /// Null if nobody living has it.
  caf::actor find(const std::string& name) const;

  std::size_t count() const;

private:
  mutable std::mutex x_guard;
  flat_table<std::string, caf::actor_addr> x_owners;
};

} // namespace viva::supervision
