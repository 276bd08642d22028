#pragma once

// Check files: what a journal calls done against the bytes themselves. Where a shard's bytes lie is
// the plan's to say, made again from the source and the journal's fingerprint; what they must be is
// an undisturbed run's. No checksum is asked.

#include "kernels/error.hpp"
#include "tests/faults/checker.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace viva::faults {

struct file_findings {
  std::uint64_t shards = 0, bytes = 0; ///< Compared: of those done, in the output.
  std::vector<std::string> broken;     ///< The first byte of each shard that is another.
};

/// `output` is OUT.partial, or OUT; `whole` the output of the same job undisturbed, as file or
/// folder. For quantize and prune without rules, patterns and statistics; others are refused, and
/// so is a source that changed since.
expected<file_findings> check_files(const journal_findings& journal,
                                    const std::filesystem::path& source,
                                    const std::filesystem::path& output,
                                    const std::filesystem::path& whole);

} // namespace viva::faults
