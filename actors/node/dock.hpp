#pragma once

// Dock: a node's end of the bulk path for one job whose files it does not see. It holds scratch for
// what a batch reads and writes, and opens each range only while it is that batch's turn:
//
//   begin ──► sources may be written ──arrived──► nobody writes, lanes read and write
//                                     ──offer──► outputs may be read ──end──► given back
//
// A batch may end from anywhere. What two batches share is open and held until both are done.

#include "actors/assignment.hpp"
#include "actors/node/scratch.hpp"

#include <map>
#include <memory>

namespace viva::actors::node {

/// What a node has for all such jobs.
struct depot {
  std::unique_ptr<scratch_root> root; ///< Null: there is no room for files.
  std::unique_ptr<bulk_server> server;
};

class dock {
public:
  /// Makes the files; their seeds may be brought.
  static expected<std::unique_ptr<dock>> open(std::shared_ptr<const depot> at, const job_key& key,
                                              const manifest& list);
  /// The bulk path is closed, the files are removed.
  ~dock();
  dock(const dock&) = delete;
  dock& operator=(const dock&) = delete;

  /// Where the copies are (assignment.hpp, use_copies).
  const std::filesystem::path& folder() const noexcept {
    return x_scratch->folder();
  }
  /// The seeds are there, and stay; nobody writes them any more.
  void keep_seeds();
  /// Before the first batch. Fails where the plan, made over the copies, has other files.
  expected<void> take_plan(const plan& work, const std::filesystem::path& output);

  /// A batch of these shards; false where there is one of this number already.
  bool begin(std::uint64_t batch, const plan& work, const std::vector<std::uint32_t>& shards);
  /// False where it was not being brought.
  bool arrived(std::uint64_t batch);
  void offer(std::uint64_t batch);
  void end(std::uint64_t batch);

private:
  enum class stage : std::uint8_t { coming, here, offered };
  struct berth {
    std::vector<byte_range> sources, outputs;
    stage is = stage::coming;
  };
  dock(std::shared_ptr<const depot> at, const job_key& key, const manifest& list,
       std::unique_ptr<scratch> room);
  void allow(access how, const std::vector<byte_range>& ranges);
  void withdraw(access how, const std::vector<byte_range>& ranges);

  std::shared_ptr<const depot> x_at;
  job_key x_key;
  manifest x_list;
  std::unique_ptr<scratch> x_scratch;
  file_numbers x_numbers;
  std::map<std::uint64_t, berth> x_berths; // by the number of the batch
};

} // namespace viva::actors::node
