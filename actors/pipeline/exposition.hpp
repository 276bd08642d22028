#pragma once

// Exposition: a pipeline's metrics as Prometheus reads them (text format 0.0.4).
//
//   # HELP viva_tensors_total Tensors that lanes have done.
//   # TYPE viva_tensors_total counter
//   viva_tensors_total{lane="lane-0"} 1234

#include "actors/pipeline.hpp"

#include <filesystem>
#include <string>

namespace viva {

std::string to_prometheus(const pipeline_metrics&);

/// For node_exporter's textfile collector: written beside `path` and renamed, so that no reader
/// sees a part. Errors: cannot_write.
expected<void> write_prometheus(const pipeline_metrics&, const std::filesystem::path& path);

} // namespace viva
