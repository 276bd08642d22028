#pragma once

// Attention on a device, behind one function.

#include "kernels/attention.hpp"
#include "kernels/device.hpp"

namespace viva::kernels::attention {

/// Queues all pieces of `attend` (attention.hpp: shapes, masks, bound) on a stream. Tensors, bias,
/// out and lse lie in memory of the device; values that are not aligned to 16 bytes cost speed.
/// `bad_shape` as `check`; `unsupported` where q, k and v are not of one type, k or v is encoded,
/// there are more than 65,535 heads or sequences, or the build has no CUDA; `fault` where the
/// device refuses the launch, which the stream's `finish` says more of.
status queue_attend(device_stream&, const shape&, const inputs&, const outputs&);

} // namespace viva::kernels::attention
