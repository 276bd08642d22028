#pragma once

// Region store: a node's copies of a pipeline's regions, files in memory that are made as they are
// touched, full of holes, so that they take what was brought or written and no more.

#include "actors/node/bulk.hpp"

#include <atomic>
#include <map>
#include <mutex>

namespace viva::actors::node {

/// Its functions may be called from any thread.
class region_store {
public:
  /// `used` is of all stores of the node together; none may take it above `bytes_max`.
  region_store(std::uint64_t bytes_max, std::shared_ptr<std::atomic<std::uint64_t>> used)
      : x_bytes_max(bytes_max), x_used(std::move(used)) {
  }
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
  void count(region& what);
  expected<void> check() const;

  const std::uint64_t x_bytes_max;
  const std::shared_ptr<std::atomic<std::uint64_t>> x_used;
  std::mutex x_guard;
  std::map<std::uint32_t, region> x_regions;
};

} // namespace viva::actors::node
