#pragma once

// Region store: a node's copies of a pipeline's regions, files in memory that are made as they are
// touched, full of holes, so that they take what was brought or written and no more.

#include "actors/node/bulk.hpp"

#include <atomic>
#include <map>
#include <mutex>

namespace viva::actors::node {

/// Of all stores of a node together.
struct region_use {
  std::atomic<std::uint64_t> bytes{0}, regions{0};
};

/// Its functions may be called from any thread.
class region_store {
public:
  /// Whoever grows while all stores together are above `bytes_max` is refused, until that is over;
  /// who grows no more is let be. So is a region beyond half of this process's descriptors.
  region_store(std::uint64_t bytes_max, std::shared_ptr<region_use> used);
  ~region_store();
  region_store(const region_store&) = delete;
  region_store& operator=(const region_store&) = delete;

  /// For the bulk path: any range; what is read must be there. Errors: over_budget, malformed.
  expected<shared_file> touch(access how, const range& where);
  /// At least so long. Errors: over_budget.
  expected<shared_file> open(std::uint32_t region, std::uint64_t bytes);
  void forget(std::uint32_t region);
  /// What lanes have written through maps is counted, too. Errors: over_budget.
  expected<void> weigh();

private:
  struct region {
    shared_file file;
    std::uint64_t counted = 0;
  };
  expected<region*> find(std::uint32_t which);
  /// Whether it has grown.
  bool count(region& what);
  /// After something was counted that may have grown.
  expected<void> check(bool grown);

  const std::uint64_t x_bytes_max, x_regions_max;
  const std::shared_ptr<region_use> x_used;
  std::mutex x_guard;
  std::map<std::uint32_t, region> x_regions;
  bool x_refused = false; ///< It has grown above what there is.
};

} // namespace viva::actors::node
