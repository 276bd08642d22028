#pragma once

// Nodes for pipelines, as a test starts and ends them.

#include "tests/actors/node_processes.hpp"

#include "actors/pipeline.hpp"

namespace viva::tests {

/// Nodes on loopback, and pipelines over the first few of them.
struct cluster {
  temporary_folder roots;
  std::vector<std::unique_ptr<node_process>> nodes;

  explicit cluster(std::size_t count, const std::vector<std::string>& more = {}) {
    for (std::size_t i = 0; i < count; ++i)
      nodes.push_back(std::make_unique<node_process>(roots.path(), more));
  }
  pipeline_options over(std::size_t count, std::uint32_t lanes = 2) const {
    pipeline_options options{.lanes = lanes};
    for (std::size_t i = 0; i < count; ++i)
      options.nodes.push_back(nodes[i]->address());
    return options;
  }
  void kill(std::size_t which) {
    nodes[which]->end(SIGKILL);
  }
  void revive(std::size_t which, const std::vector<std::string>& more = {}) {
    const auto address = nodes[which]->address();
    nodes[which] = std::make_unique<node_process>(roots.path(), more, address);
  }
};

} // namespace viva::tests
