# find_package(viva_tensor): the target viva::tensor, for #include <viva/pipeline.hpp>.
include(CMakeFindDependencyMacro)
list(PREPEND CMAKE_MODULE_PATH ${CMAKE_CURRENT_LIST_DIR}) # FindCAF
find_dependency(Threads)
find_dependency(tl-expected CONFIG)
find_dependency(hwy CONFIG)
find_dependency(nlohmann_json CONFIG)
find_dependency(spdlog CONFIG)
find_dependency(CAF 0.17.6 COMPONENTS core)
file(STRINGS ${CMAKE_CURRENT_LIST_DIR}/viva_tensorTargets.cmake VIVA_WITH_CUDA
     REGEX "CUDA::cudart_static" LIMIT_COUNT 1)
if(VIVA_WITH_CUDA)
  find_dependency(CUDAToolkit)
endif()
find_dependency(PkgConfig)
pkg_check_modules(RE2 REQUIRED IMPORTED_TARGET re2)
pkg_check_modules(PROMETHEUS REQUIRED IMPORTED_TARGET prometheus-cpp-core)
list(POP_FRONT CMAKE_MODULE_PATH)
include(${CMAKE_CURRENT_LIST_DIR}/viva_tensorTargets.cmake)
