# The library for others: find_package(viva_tensor), target viva::tensor, <viva/pipeline.hpp>.
#
# Installed are the headers that pipeline.hpp includes, with their folders, under include/viva.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(VIVA_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/viva_tensor)
set_target_properties(viva_actors PROPERTIES EXPORT_NAME tensor)
install(TARGETS viva_root viva_kernels viva_formats viva_supervision viva_wire viva_actors
        EXPORT viva_tensor)
install(EXPORT viva_tensor NAMESPACE viva:: FILE viva_tensorTargets.cmake
        DESTINATION ${VIVA_CMAKE_DIR})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/viva_tensorConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES actors/viva_tensorConfig.cmake supervision/FindCAF.cmake
              ${CMAKE_BINARY_DIR}/viva_tensorConfigVersion.cmake
        DESTINATION ${VIVA_CMAKE_DIR})
set(VIVA_INCLUDE_DIR ${CMAKE_INSTALL_INCLUDEDIR}/viva)
file(WRITE ${CMAKE_BINARY_DIR}/include/viva/pipeline.hpp
     "#pragma once\n#include \"actors/pipeline.hpp\"\n")
install(FILES ${CMAKE_BINARY_DIR}/include/viva/pipeline.hpp DESTINATION ${VIVA_INCLUDE_DIR})
install(FILES actors/pipeline.hpp actors/isolation.hpp actors/snapshot.hpp DESTINATION ${VIVA_INCLUDE_DIR}/actors)
foreach(header attended budget encoded exposition future outcome shared_bytes shared_region stream tensor_id tensor_view)
  install(FILES actors/pipeline/${header}.hpp DESTINATION ${VIVA_INCLUDE_DIR}/actors/pipeline)
endforeach()
foreach(header attention dtype error exact_sum registry scratch)
  install(FILES kernels/${header}.hpp DESTINATION ${VIVA_INCLUDE_DIR}/kernels)
endforeach()
