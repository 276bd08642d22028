#pragma once

// Resident tensors: held by lanes, each shard by one of them, in memory that dies with the lane.
//
// A lane that finds a shard missing makes it anew by its lineage: from the caller's bytes or a
// file, or from the parent's shard by its method. So a death costs time, and nobody notices.
//
// Of lanes that are processes they lie in one region of memory a tensor, each shard at its place;
// what a process had made there counts as lost with its life.
//
// A tensor that was dropped holds no memory and nothing of the budget, but lives as long as what
// was made from it: a shard of it that is needed once more is made for that once.

#include "actors/pipeline/budget.hpp"
#include "actors/pipeline/encode_view.hpp"
#include "actors/pipeline/file_source.hpp"
#include "actors/pipeline/lane_shelf.hpp"
#include "actors/pipeline/remote_order.hpp"

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <vector>

namespace viva::actors {

class resident_tensor;

/// Rows of a file, and where they are to lie.
struct file_rows {
  const resident_tensor* of = nullptr;
  std::size_t shard = 0;
  shared_table::place to;
};

/// What a lane process in one life is asked about resident tensors.
struct resident_request {
  std::uint64_t life = 0;
  remote_order what; ///< Steps that make what is missing.
  std::vector<std::pair<const resident_tensor*, std::size_t>> makes; ///< By those steps.
  /// Files come first: what must be read before, by who may wait for a disk; then `begin` again.
  std::vector<file_rows> reads;
  std::vector<file_rows> brought; ///< Of the request before.
  bool was_read = false;
  std::optional<error> problem; ///< Of reading.

  /// The next request in its place, which knows what was read for it. Errors: what reading came to.
  expected<void> begin(std::uint64_t life);
  void read() noexcept;
  /// The steps are done: the life has what they make.
  void done() const;
};

/// One tensor: what it is, and how to make any shard of it again.
class resident_tensor {
public:
  /// Of a source: values as they are, in memory or in a file.
  resident_tensor(std::uint64_t id, std::string tensor_name, const tensor_view& view,
                  file_source file, budget::lease);
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
  std::atomic<bool> dropped{false};

  bool is_encoded() const noexcept {
    return parent != nullptr;
  }
  /// What it was made from in the end; itself where it is that.
  const resident_tensor& source() const noexcept {
    return parent ? parent->source() : *this;
  }
  /// Bytes of plane p of a shard, from the shard's first byte.
  std::uint64_t plane_offset(std::size_t p, std::size_t shard) const;
  std::uint64_t shard_bytes(std::size_t shard) const;
  /// The shard's bytes on this lane's shelf, made if they are not there. Then `leave_shelf`.
  expected<const std::vector<std::byte>*> need(std::size_t shard, const lane_floor&) const;
  /// The rows of a source's shard, as they lie on the shelf.
  expected<tensor_view> need_rows(std::size_t shard, const lane_floor&) const;
  /// After each `need`: of what was dropped nothing stays.
  void leave_shelf(std::size_t shard, const lane_floor&) const;
  /// For lane processes, before any shard. The lease ends with the region. Errors: over_budget.
  expected<void> lie_in(std::shared_ptr<shared_table>);
  /// Where a shard lies, once the reads and the steps that this adds are done.
  expected<shared_table::place> need(std::size_t shard, resident_request&) const;
  shard_step step_on(const shared_table::place&, std::size_t shard) const; ///< Of a source.
  plane_map map_of(std::size_t shard) const; ///< Of an encoded one, in a region.
  /// Its region goes once nobody works in it. What is made from it brings the shards it needs.
  void leave_region() const;
  /// Rows of a file to their place, for a life that does not have them.
  expected<void> bring(const file_rows&, std::uint64_t life) const;
  void note_held(std::size_t shard, std::uint64_t life) const;
  /// Its source's bytes or file may go: waits for whoever reads them. Shards lost later stay lost.
  void release_source() const;
  /// No lane has any of it; where no lane is a process.
  void end_lease() noexcept {
    x_lease.end();
  }

private:
  expected<std::vector<std::byte>> make(std::size_t shard, const lane_floor&) const;
  expected<void> read_source(std::size_t shard, std::byte* to) const;
  std::uint64_t slot_bytes(std::size_t shard) const;

  const file_source x_file; // none: memory
  mutable std::shared_mutex x_source_guard;
  mutable bool x_source_gone = false;
  budget::lease x_lease;
  // Of lane processes: the region, and the life of its lane that made each shard; 0: none.
  std::shared_ptr<shared_table> x_shares;
  mutable std::mutex x_region_guard;
  mutable std::shared_ptr<shared_region> x_region;
  mutable std::vector<std::uint64_t> x_held;
};

} // namespace viva::actors
