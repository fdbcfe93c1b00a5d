# The libraries that a program with reelm in it links. Installed beside reelmConfig.cmake as well: whoever
# links the static library finds them with the same lines that built it.
find_package(PkgConfig REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(fmt REQUIRED)
find_package(ICU REQUIRED COMPONENTS uc i18n)
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
find_package(ZLIB REQUIRED)
pkg_check_modules(WEBP REQUIRED IMPORTED_TARGET libwebp libwebpdemux)
pkg_check_modules(FFMPEG REQUIRED IMPORTED_TARGET libavformat libavcodec libavutil libswscale)
pkg_check_modules(SENTENCEPIECE REQUIRED IMPORTED_TARGET sentencepiece)
pkg_check_modules(SECCOMP REQUIRED IMPORTED_TARGET libseccomp)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)

# Not find_package(dnnl): Debian's config asks for OpenCL's headers, which nothing here needs.
find_library(DNNL_LIBRARY dnnl REQUIRED)
find_path(DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.hpp REQUIRED)
if(NOT TARGET reelm_dnnl)
  add_library(reelm_dnnl INTERFACE IMPORTED)
  target_link_libraries(reelm_dnnl INTERFACE ${DNNL_LIBRARY})
  target_include_directories(reelm_dnnl SYSTEM INTERFACE ${DNNL_INCLUDE_DIR})
endif()
