#pragma once

// Only files of this folder that know Asio include it.

#include "actors/node/address.hpp"

#include <boost/asio/ip/tcp.hpp>

#include <chrono>

namespace viva::actors::node {

inline constexpr std::size_t connections_max = 256;             ///< Of one server.
inline constexpr std::chrono::milliseconds accept_pause{100}; ///< Where no descriptor is left.

/// Opens the acceptor and listens. Returns the port.
expected<std::uint16_t> listen_on(boost::asio::ip::tcp::acceptor& acceptor, const address& where);

} // namespace viva::actors::node
