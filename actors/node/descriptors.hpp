#pragma once

// Descriptors: a node's connections and a job's files may be more than a shell lets a program have.

#include <sys/resource.h>

namespace viva::actors::node {

/// Lets this process have as many as its user may.
inline void take_descriptors() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
}

} // namespace viva::actors::node
