#pragma once

// Scratch: where a node keeps what it was brought of jobs whose files it does not see.
//
//   FOLDER/node-LIFE/lock     held while the node lives; what nobody holds is removed by the next
//   FOLDER/node-LIFE/job-N/   the files of one job's manifest: as long, with holes wherever nothing
//                             is needed just now
//
// Disk is taken by seeds and by what shards in flight read and write, and given back block by block
// as soon as nobody holds a byte of it.

#include "actors/node/bulk.hpp"
#include "actors/node/manifest.hpp"
#include "actors/node/range_set.hpp"

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <vector>

namespace viva::actors::node {

/// Of one job; removed with this.
class scratch {
public:
  /// Makes every file. Refuses names that lead out of the folder.
  static expected<std::unique_ptr<scratch>> make(std::filesystem::path folder, const manifest&);
  ~scratch();
  scratch(const scratch&) = delete;
  scratch& operator=(const scratch&) = delete;

  const std::filesystem::path& folder() const noexcept {
    return x_folder;
  }
  const std::vector<shared_file>& files() const noexcept {
    return x_files;
  }
  /// These bytes are needed. Each call is undone by one of `let_go`.
  void hold(const std::vector<byte_range>& ranges);
  /// Blocks that nobody holds a byte of are given back; their bytes are zeros again.
  void let_go(const std::vector<byte_range>& ranges);

private:
  explicit scratch(std::filesystem::path folder) : x_folder(std::move(folder)) {
  }
  std::filesystem::path x_folder;
  std::vector<shared_file> x_files;
  std::vector<range_set> x_held;
};

/// Of one node.
class scratch_root {
public:
  /// Removes what nodes left that are gone. `folder` empty: one of this user's in the system's
  /// folder for temporary files. Fails where files there can have no holes, and where another node
  /// has begun there for longer than `patience`.
  static expected<std::unique_ptr<scratch_root>>
  open(std::filesystem::path folder, std::chrono::milliseconds patience = std::chrono::seconds{10});
  ~scratch_root();
  scratch_root(const scratch_root&) = delete;
  scratch_root& operator=(const scratch_root&) = delete;

  /// For one more job.
  expected<std::unique_ptr<scratch>> make(const manifest&);

private:
  scratch_root(std::filesystem::path own, supervision::descriptor lock)
    : x_own(std::move(own)), x_lock(std::move(lock)) {
  }
  std::filesystem::path x_own;
  supervision::descriptor x_lock;
  std::atomic<std::uint64_t> x_jobs{0};
};

} // namespace viva::actors::node
