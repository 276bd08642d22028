#pragma once

// What connections are made with. Only files of this folder that know Asio include it.

#include "actors/node/tls.hpp"

#include <boost/asio/ssl/context.hpp>

namespace viva::actors::node {

class tls {
public:
  boost::asio::ssl::context context{boost::asio::ssl::context::tls}; ///< For both sides.
};

} // namespace viva::actors::node
