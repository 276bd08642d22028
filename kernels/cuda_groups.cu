#include "kernels/cuda_device.cuh"
#include "kernels/device_group_methods.hpp"

namespace viva::kernels {

template std::span<const device_method<cuda_device>> group_methods<cuda_device>();

} // namespace viva::kernels
