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
