#pragma once

// Manifest: the files of a job as a node without them has to make them: as long, empty but for what
// planning reads. Its order numbers them for the bulk path (bulk.hpp).

#include "actors/byte_range.hpp"
#include "actors/plan.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace viva::actors::node {

struct manifest_file {
  std::string name; ///< Relative to the folder of copies (assignment.hpp, name_of_copy).
  std::uint64_t bytes = 0;
  bool written = false; ///< Lanes write it; else they read it.
};

struct manifest {
  std::vector<manifest_file> files;
  std::vector<byte_range> seeds; ///< What planning reads, of all files.
};

/// Which file of a manifest each source and each output of a plan is.
struct file_numbers {
  std::vector<std::uint32_t> sources, outputs;
  /// Ranges by the plan's numbers, as ranges by the manifest's.
  std::vector<byte_range> of_sources(std::vector<byte_range> ranges) const;
  std::vector<byte_range> of_outputs(std::vector<byte_range> ranges) const;
};

/// Names of the plan's output files while they grow (workplace.hpp).
std::vector<std::filesystem::path> partial_files(const plan&, const std::filesystem::path& output);

/// By the names that the plan's sources and outputs have in the manifest. Fails where one is not in
/// it, or is of another size there.
expected<file_numbers> number_files(const plan&, const manifest&,
                                    const std::vector<std::filesystem::path>& sources,
                                    const std::vector<std::filesystem::path>& outputs);

} // namespace viva::actors::node
