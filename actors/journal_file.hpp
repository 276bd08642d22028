#pragma once

// The journal's bytes: append-only records, each with its length and checksum.
//
//   file    := "VIVAJRN1" record*
//   record  := bytes:u32le check:u32le payload       check = low half of xxh3-64 of the payload
//   payload := kind:u8 …                             opening, done
//
// The first record is the opening: the fingerprint of the job, key by key. Every later one says
// that a shard is durable, with the checksum of its output bytes and what it measured. A torn tail
// (a crash while appending; zeros or garbage after a power cut) is cut off; a bad record with a
// whole one anywhere behind it is an error.

#include "actors/workplace.hpp"
#include "kernels/error.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace viva::actors {

struct done_record {
  std::uint32_t shard = 0;
  std::uint64_t checksum = 0; ///< xxh3-64 over the shard's output bytes, plane after plane.
  std::string findings;       ///< error_sums or survey, as bytes; empty where there are none.
};

struct journal_content {
  std::map<std::string, std::string> fingerprint;
  std::vector<done_record> done;
  std::uint64_t good_bytes = 0; ///< Where a torn tail begins.
};

/// True for a file that is empty or begins as a journal does: the only ones that are ours.
bool is_journal(const std::filesystem::path& file);

/// Reads a whole journal. A file shorter than its opening is empty content, not an error.
expected<journal_content> read_journal(const std::filesystem::path& file);

/// The first difference in words, or empty where both are equal.
std::string difference(const std::map<std::string, std::string>& journal,
                       const std::map<std::string, std::string>& asked);

class journal_file {
public:
  /// Opens for appending at `good_bytes` (0: starts anew with the opening record, durable at once).
  static expected<journal_file> open(const std::filesystem::path& file,
                                     const std::map<std::string, std::string>& fingerprint,
                                     std::uint64_t good_bytes);
  /// Appends all of them and returns when they are durable.
  expected<void> append(const std::vector<done_record>& records);

private:
  expected<void> write(const std::string& bytes);
  descriptor x_fd;
  std::filesystem::path x_name;
  std::uint64_t x_end = 0;
};

} // namespace viva::actors
