#pragma once

// Freight: what a coordinator brings to nodes that do not see its files, and fetches from them: its
// sources, open for reading, and OUT.partial, open for writing. One for all nodes of a job.

#include "actors/assignment.hpp"
#include "actors/node/bulk.hpp"
#include "actors/node/manifest.hpp"
#include "actors/workplace.hpp"

#include <memory>
#include <vector>

namespace viva::actors::node {

struct freight {
  manifest list;
  std::vector<shared_file> files; ///< By the manifest's numbers.
  std::vector<std::filesystem::path> names; ///< Here.
  file_numbers numbers;
};

/// Plans the assignment again to see what planning reads. The output has to be open (workplace).
expected<std::shared_ptr<const freight>> load_freight(const assignment&, const plan&);

} // namespace viva::actors::node
