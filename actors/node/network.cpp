#include "actors/node/network.hpp"

#include "actors/node/network_engine.hpp"

#include <boost/asio/use_awaitable.hpp>

#include <algorithm>

#include <pthread.h>
#include <signal.h>

namespace viva::actors::node {

slab_lease::~slab_lease() {
  if (x_from != nullptr)
    x_from->give_back(std::move(x_what));
}

slab_pool::slab_pool(asio::io_context& io, std::size_t slabs) : x_permits(io, slabs) {
  x_free.resize(slabs); // memory comes with the first use
  for (std::size_t i = 0; i < slabs; ++i)
    x_permits.try_send(error_code{});
}

asio::awaitable<slab_lease> slab_pool::take() {
  if (!x_permits.try_receive([](error_code) {}))
    co_await x_permits.async_receive(asio::use_awaitable);
  co_return slab_lease(this, pop());
}

slab slab_pool::pop() {
  slab got;
  {
    const std::lock_guard hold(x_mutex);
    got = std::move(x_free.back()); // there is one for each permit
    x_free.pop_back();
  }
  if (!got)
    got = std::make_unique_for_overwrite<std::byte[]>(body_bytes_max);
  return got;
}

void slab_pool::give_back(slab what) {
  {
    const std::lock_guard hold(x_mutex);
    x_free.push_back(std::move(what));
  }
  x_permits.try_send(error_code{});
}

network::engine::engine(const network_options& how)
    : io(static_cast<int>(how.threads)), open(io.get_executor()), incoming(io, how.slabs),
      outgoing(io, how.slabs) {
}

network::network(network_options how) {
  how.threads = std::max<std::size_t>(how.threads, 1);
  how.slabs = std::max<std::size_t>(how.slabs, 1);
  x_engine = std::make_unique<engine>(how);
  sigset_t all{}, before{};
  ::sigfillset(&all); // signals are the program's own threads' affair
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  for (std::size_t i = 0; i < how.threads; ++i) {
    x_engine->threads.emplace_back([this] { x_engine->io.run(); });
    ::pthread_setname_np(x_engine->threads.back().native_handle(), "viva.network");
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

network::~network() {
  x_engine->open.reset();
  for (auto& each : x_engine->threads)
    each.join();
}

} // namespace viva::actors::node
