# Every library from outside, found once. tools/install_deps.sh installs the Debian packages.
include(ReelmLinkDependencies)  # what ends up in a program; the others below are needed to build only

find_package(nlohmann_json REQUIRED)
find_package(Eigen3 REQUIRED NO_MODULE)
find_package(CLI11 REQUIRED)
if(REELM_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()
if(REELM_BUILD_BENCH)
  find_package(benchmark REQUIRED)
endif()

# Not find_package(OpenCV): its config comes only with all of OpenCV (1 GB); drawing takes two modules.
find_library(OPENCV_CORE_LIBRARY opencv_core REQUIRED)
find_library(OPENCV_IMGPROC_LIBRARY opencv_imgproc REQUIRED)
find_path(OPENCV_INCLUDE_DIR opencv2/imgproc.hpp PATH_SUFFIXES opencv4 REQUIRED)
if(NOT TARGET reelm_opencv)
  add_library(reelm_opencv INTERFACE IMPORTED)
  target_link_libraries(reelm_opencv INTERFACE ${OPENCV_IMGPROC_LIBRARY} ${OPENCV_CORE_LIBRARY})
  target_include_directories(reelm_opencv SYSTEM INTERFACE ${OPENCV_INCLUDE_DIR})
endif()
