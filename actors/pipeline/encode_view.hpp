#pragma once

// One view to planes: what a lane does to a tensor, or to some of its rows.

#include "actors/pipeline/encoded.hpp"
#include "actors/pipeline/tensor_view.hpp"
#include "actors/pipeline/unit.hpp"

#include <functional>
#include <string_view>

namespace viva::actors {

/// Rows of a tensor.
struct row_run {
  std::uint64_t first = 0, count = 0;
};

/// Why no lane can do this, naming `what`; or nothing.
expected<void> check_view(const kernels::recipe&, const tensor_view&, std::string_view what);

/// What a kernel refused of a tensor: "tensor 7: NaN or infinity at [0, 3]; …".
error name_problem(const status&, const kernels::recipe&, std::uint64_t cols,
                   std::string_view what);

/// Encodes rows to their places in `out`, the planes of the whole tensor. Rows that are apart are
/// brought together in memory of the thread, a run at a time: 1 MiB that it keeps, or a longer run
/// that goes at the end. Positions count from the tensor's first value. `floor` may end the lane
/// between runs.
status encode_rows(const kernels::recipe&, const tensor_view&, row_run,
                   const kernels::tensor_numbers&, const plane_map&, std::byte* out,
                   const lane_floor& floor);

/// Adds rows to a survey, as `encode_rows` reads them.
status survey_rows(const kernels::recipe&, const tensor_view&, row_run, kernels::survey&,
                   const lane_floor& floor);

/// Whole tensors: surveys where the method wants it, then encodes.
status encode_whole(const kernels::recipe&, const tensor_view&, const plane_map&, std::byte* out,
                    kernels::tensor_numbers&, const lane_floor& floor);

/// What a thread takes for that where it is more than it keeps; else 0.
std::uint64_t together_bytes(const kernels::recipe&, const tensor_view&);

/// Of a tensor that `encode_whole` encoded to `planes`, in runs of rows, or of columns of a long
/// one. A thread keeps 1 MiB for that. Only rows of more values that cannot be decoded apart take
/// more, until the end.
tensor_error measure_whole(const kernels::recipe&, const tensor_view&, const plane_map&,
                           const std::byte* planes, const kernels::tensor_numbers&);

} // namespace viva::actors
