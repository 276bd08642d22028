#pragma once

// Assignment: all a lane process must know to plan the same job. Plans are pure, so one is made
// again from the command instead of being sent; its fingerprint shows that it is the same.

#include "actors/disk.hpp"
#include "actors/plan.hpp"

#include <map>
#include <string>
#include <variant>
#include <vector>

namespace viva::actors {

struct scan_spec {
  quantize_spec of;
};

struct assignment {
  std::variant<quantize_spec, scan_spec, dequantize_spec, compare_spec> what;
  std::map<std::string, std::string> kept{}; ///< As plan_quantize takes it.
  std::uint32_t lanes = 1;                   ///< As fit_memory takes it.
  /// Filled in by `encode`, checked by `plan_again`.
  std::map<std::string, std::string> fingerprint{};
  std::string digest{}; ///< plan_digest
  std::uint64_t shards = 0;
  file_identity partial{}; ///< workplace::partial_identity.
  /// The sources are copies, of other inodes and times: the digest stands for the fingerprint.
  bool copies = false;
};

/// Bytes for a lane process of the same build; names of files may be any bytes.
std::string encode(assignment, const plan& as_planned,
                   file_identity partial);
expected<assignment> decode_assignment(std::string_view bytes);

/// The plan of an assignment, sized as its guardian sized it. Refuses where it came out another,
/// because a source changed meanwhile.
expected<plan> plan_again(const assignment&);

std::filesystem::path output_of(const assignment&);

/// Every file and folder that it names: sources, statistics, the output.
std::vector<std::filesystem::path> paths_of(const assignment&);
/// As absolute names, by which other processes find the same files.
void make_absolute(assignment&);
/// Where a file below one of the job's paths lies in a folder of copies; empty below none.
std::filesystem::path name_of_copy(const assignment&, const std::filesystem::path& file);
/// To be planned over copies in that folder.
void use_copies(assignment&, const std::filesystem::path& folder);
/// To be sized for another machine's memory and lanes; shards stay what they are.
void resize(assignment&, std::uint32_t lanes, const job_limits& limits);

} // namespace viva::actors
