#pragma once

// Certificates: an authority of the cluster's own and, for each member, a folder that is what
// `--tls DIR` takes.
//
//   OUT/ca.pem  OUT/ca.key             the authority; whoever has its key can let machines in
//   OUT/NAME/{ca.pem,node.pem,node.key}  of one member: copy it to that machine, and nothing else
//
// Keys are EC P-256, files of keys 0600. Nothing that is there is replaced: called again with other
// names, more members of the same authority are made.

#include "kernels/error.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace viva::actors::node {

struct certificate_options {
  std::vector<std::string> names; ///< Of members: letters, digits, '.', '-', '_'.
  int days = 730;                 ///< A member's certificate holds.
};

inline constexpr int authority_days = 3650;

/// Fails where a name is none or is there already, or a file cannot be written; then nothing of
/// that member is left, and those before it stand.
expected<void> make_certificates(const std::filesystem::path& out, const certificate_options& how);

} // namespace viva::actors::node
