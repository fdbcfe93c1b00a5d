# Options and flags that hold for every target, and the function that makes a layer.
option(REELM_BUILD_TESTS "build the tests" ${PROJECT_IS_TOP_LEVEL})
option(REELM_BUILD_BENCH "build the benchmarks" ${PROJECT_IS_TOP_LEVEL})
option(REELM_WERROR "warnings are errors" ${PROJECT_IS_TOP_LEVEL})
option(REELM_FUZZ "build the fuzz targets with libFuzzer (clang); without it they replay their corpus" OFF)
set(REELM_SANITIZE "" CACHE STRING "sanitizers, as -fsanitize= takes them (address,undefined)")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
include(GNUInstallDirs)
if(BUILD_SHARED_LIBS)  # an installed program finds its library from its own place
  file(RELATIVE_PATH lib_from_bin /p/${CMAKE_INSTALL_BINDIR} /p/${CMAKE_INSTALL_LIBDIR})
  set(CMAKE_INSTALL_RPATH $ORIGIN/${lib_from_bin})
endif()

# Paths below the source tree are given to ccache relative to it, so that another clone of the same commit
# compiles nothing again.
find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}
                                  CCACHE_NOHASHDIR=1 ${CCACHE_PROGRAM})
endif()

# No -march=native and no fast-math: only the instruction-set folders of kernels/ get -m flags.
# -ffp-contract=off: a*b+c is fused only where a kernel says so, so that results do not depend on the
# compiler's mood.
add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)  # files that silence a warning only GCC has
  add_compile_options(-Wno-unknown-warning-option)
endif()
# No path of the machine that built it in a binary (__FILE__, debug information), as ccache may hand over
# absolute paths or relative ones.
file(RELATIVE_PATH source_from_binary ${CMAKE_BINARY_DIR} ${PROJECT_SOURCE_DIR}/)
add_compile_options(-ffile-prefix-map=${PROJECT_SOURCE_DIR}/= -ffile-prefix-map=${source_from_binary}=)
if(REELM_WERROR)
  add_compile_options(-Werror)
endif()
# What an overflow meets, as Debian hardens its own packages. Checks of buffer sizes need an optimised build, and
# sanitizers do without both.
option(REELM_HARDENING "stack protector, checked libc calls, position-independent programs, full RELRO" ON)
if(REELM_HARDENING AND NOT REELM_SANITIZE)
  add_compile_options(-fstack-protector-strong -fstack-clash-protection
                      "$<$<CONFIG:Release,RelWithDebInfo,MinSizeRel>:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=3>")
  add_compile_definitions("$<$<CONFIG:Release,RelWithDebInfo,MinSizeRel>:_GLIBCXX_ASSERTIONS>")
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    add_compile_options(-fcf-protection)
  endif()
  add_link_options(-Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)
  include(CheckPIESupported)
  check_pie_supported(LANGUAGES CXX)
endif()
if(REELM_SANITIZE)
  add_compile_options(-fsanitize=${REELM_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${REELM_SANITIZE})
endif()
if(REELM_FUZZ)  # what libFuzzer steers by; only the programs of tests/fuzz link it
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# reelm_layer(reelm_FOLDER SOURCES a.cc ... DEPENDS reelm_core ... LIBRARIES fmt::fmt ...): one folder's
# object library. DEPENDS are layers it may include; LIBRARIES come from outside (ReelmDependencies.cmake,
# and reelm.pc.in for those that are linked).
function(reelm_layer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;LIBRARIES" ${ARGN})
  add_library(${name} OBJECT ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${ARG_DEPENDS} PRIVATE ${ARG_LIBRARIES})
  set_property(GLOBAL APPEND PROPERTY REELM_LAYERS ${name})
  set_property(GLOBAL APPEND PROPERTY REELM_LIBRARIES ${ARG_LIBRARIES})
endfunction()
