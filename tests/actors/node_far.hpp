#pragma once

// Nodes that do not see a job's files, and jobs over them.

#include "tests/actors/node_jobs.hpp"

namespace viva::tests {

/// The same command over nodes that do not see the files.
inline words apart(words command) {
  std::erase(command, "--shared-fs");
  return command;
}

/// A node that may read nothing of this machine's.
class far_node {
public:
  explicit far_node(words more = {}, const std::string& listen = "127.0.0.1:0",
                    const std::string& scratch = {})
    : x_node(x_empty.path(), with(scratch.empty() ? x_scratch.path().string() : scratch,
                                  std::move(more)),
             listen) {
  }
  node_process* operator->() {
    return &x_node;
  }
  const node_process* operator->() const {
    return &x_node;
  }
  const fs::path& scratch() const {
    return x_scratch.path();
  }

private:
  static words with(const std::string& scratch, words more) {
    more.insert(more.end(), {"--scratch", scratch});
    return more;
  }
  temporary_folder x_empty, x_scratch;
  node_process x_node;
};

} // namespace viva::tests
