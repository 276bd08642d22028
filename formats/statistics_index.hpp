#pragma once

// The index of each kind of statistics file. `path` is for the errors' texts.

#include "formats/statistics.hpp"

namespace viva::formats {

expected<statistics::index> index_safetensors_statistics(const source_file&,
                                                         const std::filesystem::path&);
expected<statistics::index> index_gguf_imatrix(const source_file&, const std::filesystem::path&);
expected<statistics::index> index_legacy_imatrix(const source_file&, const std::filesystem::path&);

} // namespace viva::formats
