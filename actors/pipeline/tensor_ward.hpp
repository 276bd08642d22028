#pragma once

// Tensor ward: what a lane process, or a lane of a node, does for a pipeline. It maps the regions
// that it is told of, sources only for reading, runs orders in them and says what came of each.

#include "actors/pipeline/tensor_frames.hpp"
#include "supervision/channel.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>

namespace viva::actors {

class tensor_ward {
public:
  /// Whose work it is.
  struct owner {
    std::function<bool(supervision::frame)> send; ///< False: nobody hears it any more.
    std::function<void(std::uint64_t)> mark;      ///< The order that is executed; 0: none.
    std::function<void()> step;                   ///< The work has moved.
  };
  explicit tensor_ward(owner me);
  ~tensor_ward();

  /// A frame of kind share, forget or tensors. False where it makes no sense. An exception ends
  /// who owns it.
  bool take(const supervision::frame&);

private:
  class region;

  bool share(const supervision::frame&);
  /// Null: nobody told of it. Throws where its file was cut short, within the order that wants it.
  region* find(std::uint32_t id);
  bool run(const supervision::frame&);
  bool run(const tensor_order&, tensor_receipt&);
  bool run(const tensor_order&, const tensor_run&, tensor_receipt&);
  bool run(const shard_step&, std::uint32_t index, tensor_receipt&);
  bool attend(const tensor_order&, tensor_receipt&);
  const kernels::recipe* method_of(const std::string& method, dtype type);

  const owner x_me;
  std::map<std::uint32_t, std::unique_ptr<region>> x_regions; // null: its file was cut short
  std::map<std::pair<std::string, dtype>, kernels::recipe> x_methods;
  std::uint64_t x_peak_rss = 0;
  std::chrono::steady_clock::time_point x_weighed{};
};

} // namespace viva::actors
