#pragma once

// Addresses: where nodes listen, and when their connections must be encrypted.
//
//   10.0.0.2:4242   [fd00::2]:4242   node-3.cluster:4242
//
// A node speaks through its own port; the one above it is for bulk bytes, the next for signs of
// life. Port 0: the system chooses three in a row.

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

/// Each of them, none twice.
expected<std::vector<address>> parse_addresses(const std::vector<std::string>& texts);

/// True where the host is 127.0.0.0/8 or ::1, or is called localhost: what never leaves the
/// machine. Other names are not trusted to stay on it.
bool is_loopback(const address& where);

/// Whether connections to or on these must be encrypted: as soon as one leaves the machine, unless
/// `insecure` was spelled out; and where certificates were given. Fails where they must be and
/// there are none.
expected<bool> needs_tls(const std::vector<address>& all, bool certificates, bool insecure);

} // namespace viva::actors::node
