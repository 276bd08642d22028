#pragma once

// TLS between nodes: version 1.3, both sides show a certificate of the cluster's own authority, and
// that is all there is to show: names of hosts are not compared, as the authority signs for nothing
// but this cluster (`viva certs`).

#include "kernels/error.hpp"

#include <filesystem>
#include <memory>

namespace viva::actors::node {

/// PEM files.
struct tls_files {
  std::filesystem::path authority;   ///< ca.pem
  std::filesystem::path certificate; ///< node.pem
  std::filesystem::path key;         ///< node.key
};

/// Those of a folder that `viva certs` made. Fails where one is missing or the key may be read by
/// others than its owner and group.
expected<tls_files> tls_files_in(const std::filesystem::path& folder);

/// What connections are made with. Shared by all of them, from any thread.
class tls;
using tls_ptr = std::shared_ptr<tls>;

/// Fails where a file cannot be read, or key and certificate do not belong together, or the
/// authority did not sign it.
expected<tls_ptr> load_tls(const tls_files& files);

} // namespace viva::actors::node
