#pragma once

// Exposition: what the collector has, as Prometheus reads it (text format 0.0.4).
//
//   # HELP viva_shards_total Shards that lanes have done; in a pipeline, tensors.
//   # TYPE viva_shards_total counter
//   viva_shards_total{lane="lane-0"} 1234

#include "actors/snapshot.hpp"
#include "kernels/error.hpp"

#include <filesystem>
#include <string>

namespace viva {

std::string to_prometheus(const snapshot&);

/// For node_exporter's textfile collector: written beside `path` and renamed, so that no reader
/// sees a part. Errors: cannot_write.
expected<void> write_prometheus(const snapshot&, const std::filesystem::path& path);

} // namespace viva
