#pragma once

// A checkpoint: one safetensors file, or a Hugging Face folder (model.safetensors, or the shards
// its index names) with the files beside it.

#include "formats/safetensors.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace viva::formats {

struct checkpoint_file {
  std::filesystem::path path; ///< As opened.
  std::string name;           ///< File name inside the checkpoint.
  safetensors_header header;
};

struct checkpoint {
  std::filesystem::path root; ///< The folder, or the single file.
  bool folder = false;
  std::vector<checkpoint_file> files;        ///< Sorted by name.
  std::vector<std::filesystem::path> others; ///< Regular files beside them, relative to root.
  std::string config;                        ///< Text of config.json; empty where there is none.
  std::string index;                         ///< Name of the index; empty where there is none.
};

/// Opens a checkpoint and checks headers and index (missing files, tensors in two files, names the
/// index and the files disagree on). `others` holds no weights in any other form (*.bin, *.gguf and
/// the like, the folder original/), no hidden files, and nothing that an unfinished job left
/// (*.partial, *.journal).
expected<checkpoint> open_checkpoint(const std::filesystem::path& source);

} // namespace viva::formats
