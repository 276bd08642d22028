#pragma once

// Resident tensors: held by lanes, each shard by one of them, in memory that dies with the lane.
//
// A lane that finds a shard missing makes it anew by its lineage: from the caller's bytes or a
// file, or from the parent's shard by its method. So a death costs time, and nobody notices.
//
// Of lanes that are processes they lie in one region of memory a tensor, each shard at its place;
// what a process had made there counts as lost with its life.

#include "actors/pipeline/budget.hpp"
#include "actors/pipeline/encode_view.hpp"
#include "actors/pipeline/remote_order.hpp"
#include "actors/pipeline/shard_rounds.hpp"

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <vector>

namespace viva::actors {

/// What a lane has in its keeping; gone with it.
class lane_shelf {
public:
  using key = std::pair<std::uint64_t, std::size_t>; ///< Tensor and shard.
  const std::vector<std::byte>* find(key what) const {
    const auto at = x_shards.find(what);
    return at == x_shards.end() ? nullptr : &at->second;
  }
  const std::vector<std::byte>& put(key what, std::vector<std::byte> bytes) {
    return x_shards[what] = std::move(bytes);
  }
  void drop(key what) {
    x_shards.erase(what);
  }

private:
  std::map<key, std::vector<std::byte>> x_shards;
};

class resident_tensor;

/// What a lane process in one life is asked about resident tensors.
struct resident_request {
  std::uint64_t life = 0;
  remote_order what; ///< Steps that make what is missing.
  std::vector<std::pair<const resident_tensor*, std::size_t>> makes; ///< By those steps.

  /// They are done: the life has them.
  void done() const;
};

/// One tensor: what it is, and how to make any shard of it again.
class resident_tensor {
public:
  /// Of a source: values as they are.
  resident_tensor(std::uint64_t id, std::string tensor_name, const tensor_view& view,
                  std::filesystem::path file, std::uint64_t offset, budget::lease);
  /// Of a parent, by a method.
  resident_tensor(std::uint64_t id, std::shared_ptr<const resident_tensor> parent,
                  const kernels::recipe& how, budget::lease);

  const std::uint64_t number;
  const std::string name;
  const tensor_view shape; ///< Its data only while the caller keeps them.
  const std::vector<row_run> rows;
  const std::shared_ptr<const resident_tensor> parent; ///< Null: a source.
  const kernels::recipe how; ///< Of an encoded one.
  kernels::tensor_numbers numbers; ///< Set by its first round, before any shard.
  mutable std::atomic<std::uint64_t> built{0}; ///< Shards made, again and again.
  std::atomic<bool> dropped{false};

  bool is_encoded() const noexcept {
    return parent != nullptr;
  }
  /// Bytes of plane p of a shard, from the shard's first byte.
  std::uint64_t plane_offset(std::size_t p, std::size_t shard) const;
  std::uint64_t shard_bytes(std::size_t shard) const;
  /// The shard's bytes on this lane's shelf, made if they are not there.
  expected<const std::vector<std::byte>*> need(std::size_t shard, const lane_floor&) const;
  /// The rows of a source's shard, as they lie on the shelf.
  expected<tensor_view> need_rows(std::size_t shard, const lane_floor&) const;
  /// For lane processes, before any shard. Errors: over_budget.
  expected<void> lie_in(std::shared_ptr<shared_table>);
  /// Where a shard lies, once the steps that this adds are done.
  expected<shared_table::place> need(std::size_t shard, resident_request&) const;
  shard_step step_on(const shared_table::place&, std::size_t shard) const; ///< Of a source.
  plane_map map_of(std::size_t shard) const; ///< Of an encoded one, in a region.
  /// Its region goes once nobody works in it. What is made from it brings the shards it needs.
  void leave_region() const;
  void note_held(std::size_t shard, std::uint64_t life) const;
  /// The caller's bytes may go: waits for a lane that reads them. Shards lost later stay lost.
  void release_source();

private:
  expected<std::vector<std::byte>> make(std::size_t shard, const lane_floor&) const;
  expected<std::vector<std::byte>> read_source(std::size_t shard) const;
  expected<void> read_source(std::size_t shard, std::byte* to) const;
  std::uint64_t slot_bytes(std::size_t shard) const;

  const std::filesystem::path x_file; // empty: memory
  const std::uint64_t x_file_offset = 0;
  mutable std::shared_mutex x_source_guard;
  bool x_source_gone = false;
  budget::lease x_lease;
  // Of lane processes: the region, and the life of its lane that made each shard; 0: none.
  std::shared_ptr<shared_table> x_shares;
  mutable std::mutex x_region_guard;
  mutable std::shared_ptr<shared_region> x_region;
  mutable std::vector<std::uint64_t> x_held;
};

/// The tensors of a pipeline by number.
class resident_store {
public:
  std::uint64_t next_number() {
    return ++x_last;
  }
  void add(std::shared_ptr<resident_tensor> tensor);
  std::shared_ptr<resident_tensor> find(std::uint64_t number) const;
  std::shared_ptr<resident_tensor> remove(std::uint64_t number);

private:
  std::atomic<std::uint64_t> x_last{0};
  mutable std::mutex x_guard;
  std::map<std::uint64_t, std::shared_ptr<resident_tensor>> x_tensors;
};

} // namespace viva::actors
