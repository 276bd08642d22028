#pragma once

// Only files of this folder that know Asio include it.

#include "actors/node/address.hpp"

#include <boost/asio/ip/tcp.hpp>

namespace viva::actors::node {

/// Opens the acceptor and listens. Returns the port.
expected<std::uint16_t> listen_on(boost::asio::ip::tcp::acceptor& acceptor, const address& where);

} // namespace viva::actors::node
