#pragma once

// Tensor ward: what a lane process does for a pipeline. It maps the regions it is told of, sources
// only for reading, runs orders in them and says what came of each.

#include "actors/pipeline/tensor_frames.hpp"
#include "supervision/ward.hpp"

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>

namespace viva::actors {

class tensor_ward {
public:
  explicit tensor_ward(supervision::ward& me);
  ~tensor_ward();

  /// A frame of kind share, forget or tensors. False where it makes no sense, which only a defect
  /// of the guardian's explains. An exception ends the process.
  bool take(const supervision::frame&);

private:
  class region;

  bool share(const supervision::frame&);
  bool run(const supervision::frame&);
  bool run(const tensor_order&, tensor_receipt&);
  bool run(const tensor_order&, const tensor_run&, tensor_receipt&);
  bool run(const shard_step&, std::uint32_t index, tensor_receipt&);
  bool attend(const tensor_order&, tensor_receipt&);
  const kernels::recipe* method_of(const std::string& method, dtype type);

  supervision::ward& x_me;
  std::map<std::uint32_t, std::unique_ptr<region>> x_regions;
  std::map<std::pair<std::string, dtype>, kernels::recipe> x_methods;
  std::uint64_t x_peak_rss = 0;
  std::chrono::steady_clock::time_point x_weighed{};
};

} // namespace viva::actors
