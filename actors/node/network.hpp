#pragma once

// Network: the threads that move bulk bytes, and the slabs they move them through.
//
// Slabs are the credits: a connection reads a body only once it has a slab for it and prepares one
// only once it has a slab to prepare it in, so memory is bounded by the number of slabs, however
// many connections there are, and a slow disk slows down those who send. Bodies that come and
// bodies that go have slabs of their own, or two sides that both send would wait for each other.

#include <cstddef>
#include <memory>

namespace viva::actors::node {

struct network_options {
  std::size_t threads = 1;
  std::size_t slabs = 16; ///< In each direction.
};

class network {
public:
  explicit network(network_options how = {});
  /// Waits for what its servers and clients still have to end; they keep it alive until then.
  /// REQUIRES: not called from a callback.
  ~network();
  network(const network&) = delete;
  network& operator=(const network&) = delete;

  struct engine; ///< network_engine.hpp
  engine& inside() noexcept {
    return *x_engine;
  }

private:
  std::unique_ptr<engine> x_engine;
};

} // namespace viva::actors::node
