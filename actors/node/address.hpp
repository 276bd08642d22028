#pragma once

// Addresses: where nodes listen, and when their connections must be encrypted.
//
//   10.0.0.2:4242   [fd00::2]:4242   node-3.cluster:4242   several: with commas between
//
// A node has three ports: that of its address for control, and the two above it for bulk bytes and
// for liveness, so that a firewall can be told of them. Where a test gives port 0, the system
// chooses all three. A node's hello says them; nobody counts upwards.

#include "kernels/error.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace viva::actors::node {

struct address {
  std::string host; ///< A name or a number; IPv6 without its brackets.
  std::uint16_t port = 0;

  /// As it is written: an IPv6 number in brackets.
  std::string text() const;
  friend bool operator==(const address&, const address&) = default;
};

/// HOST:PORT; the port is 0 to 65533, as two more follow it. Names are not looked up.
expected<address> parse_address(std::string_view text);

/// One or more with commas between, none twice.
expected<std::vector<address>> parse_addresses(std::string_view text);

/// True where the host is 127.0.0.0/8 or ::1, or is called localhost: what never leaves the
/// machine. Other names are not trusted to stay on it.
bool is_loopback(const address& where);

/// Whether connections to or on these must be encrypted: as soon as one leaves the machine, unless
/// `insecure` was spelled out; and where certificates were given. Fails where they must be and
/// there are none.
expected<bool> needs_tls(const std::vector<address>& all, bool certificates, bool insecure);

} // namespace viva::actors::node
