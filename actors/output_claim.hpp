#pragma once

// Output claim: may this job have this output, and has it for itself. Decides before any byte is
// written, so that no source, no stranger's file and no other running job is ever in the way.
//
//   OUT           the final name
//   OUT.partial   the output as it grows, file or folder
//   OUT.journal   what of it is durable; locked while a job works on OUT

#include "actors/journal_file.hpp"
#include "formats/checkpoint.hpp"
#include "kernels/error.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace viva::actors {

/// True where OUT is the whole output of the job that this journal is of: it was stopped between
/// giving the name and removing what it leaves.
bool is_named(disk& on, const std::filesystem::path& output, const journal_content& journal);

/// Refuses an output that is there already (but lets pass what `is_named`: its job ends it), or
/// whose names reach any file of a source: by the same inode, inside or around its folder. With
/// `overwrite`, only a checkpoint may be replaced.
expected<void> check_output(const formats::checkpoint& source, const std::filesystem::path& output,
                            bool overwrite);

/// What an earlier life of this very job left; a new one where nothing is there. Leftovers of
/// another job are refused, or removed where `overwrite` is said; a partial output without a
/// journal is never trusted and never removed. Refuses once more what `check_output` does, as it
/// is now that the claim is held.
expected<earlier_run> find_earlier(disk& on, const std::filesystem::path& output,
                                   const fingerprint_map& fingerprint, bool overwrite);

/// One job's right to OUT, held as a lock on OUT.journal. The system frees it when the process
/// dies.
class output_claim {
public:
  /// Refuses where another process works on the same output, or where OUT.journal is no journal.
  static expected<output_claim> take(const std::filesystem::path& output);

  output_claim(output_claim&&) noexcept = default;
  output_claim& operator=(output_claim&&) = delete;
  /// Removes a journal that nothing was ever written to.
  ~output_claim();

  /// Removes OUT.partial and OUT.journal: this job will not be resumed.
  void discard() const;

private:
  output_claim(std::filesystem::path output, descriptor lock)
    : x_output(std::move(output)), x_lock(std::move(lock)) {
  }
  std::filesystem::path x_output;
  descriptor x_lock;
};

} // namespace viva::actors
