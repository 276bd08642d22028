#include "kernels/cuda_device.cuh"
#include "kernels/device_stacks.hpp"

namespace viva::kernels {

template std::span<const device_method<cuda_device>> sparse_methods<cuda_device>();

} // namespace viva::kernels
