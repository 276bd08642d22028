#pragma once

// What a network has inside. Only files of this folder that know Asio include it.

#include "actors/node/network.hpp"
#include "actors/node/wire.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/experimental/concurrent_channel.hpp>
#include <boost/asio/io_context.hpp>

#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace viva::actors::node {

namespace asio = boost::asio;
using error_code = boost::system::error_code;

using slab = std::unique_ptr<std::byte[]>; ///< body_bytes_max bytes.

class slab_pool;

/// A slab, until it goes out of scope.
class slab_lease {
public:
  slab_lease() = default;
  slab_lease(slab_pool* from, slab what) : x_from(from), x_what(std::move(what)) {
  }
  slab_lease(slab_lease&& other) noexcept
      : x_from(std::exchange(other.x_from, nullptr)), x_what(std::move(other.x_what)) {
  }
  slab_lease& operator=(slab_lease&& other) noexcept {
    std::swap(x_from, other.x_from);
    std::swap(x_what, other.x_what);
    return *this;
  }
  ~slab_lease();

  std::span<std::byte> first(std::size_t bytes) const {
    return {x_what.get(), bytes};
  }

private:
  slab_pool* x_from = nullptr;
  slab x_what;
};

/// So many slabs and no more; who finds none waits. The one given back last is given out first, as
/// it is still in the processor's cache.
class slab_pool {
public:
  slab_pool(asio::io_context& io, std::size_t slabs);
  asio::awaitable<slab_lease> take();
  void give_back(slab what);

private:
  slab pop();

  asio::experimental::concurrent_channel<void(error_code)> x_permits;
  std::mutex x_mutex;
  std::vector<slab> x_free;
};

struct network::engine {
  explicit engine(const network_options& how);

  asio::io_context io;
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> open;
  slab_pool incoming, outgoing;
  std::vector<std::thread> threads;
};

} // namespace viva::actors::node
