#include "kernels/cuda_device.cuh"
#include "kernels/device_level_methods.hpp"

namespace viva::kernels {

template std::span<const device_method<cuda_device>> level_methods<cuda_device>();

} // namespace viva::kernels
