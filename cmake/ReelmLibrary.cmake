# All layers as one library, and its installation: headers, CMake package, pkg-config file, demo model.
get_property(layers GLOBAL PROPERTY REELM_LAYERS)
get_property(libraries GLOBAL PROPERTY REELM_LIBRARIES)
list(REMOVE_DUPLICATES libraries)

add_library(reelm)
add_library(reelm::pipeline ALIAS reelm)
foreach(layer IN LISTS layers)
  target_sources(reelm PRIVATE $<TARGET_OBJECTS:${layer}>)
endforeach()

# <reelm/core/error.h> works from the build tree too (add_subdirectory, FetchContent): include/reelm there
# is the source tree.
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/include)
file(CREATE_LINK ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/include/reelm SYMBOLIC)
target_include_directories(reelm PUBLIC $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include>
                                        $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_compile_features(reelm PUBLIC cxx_std_20)

# Header-only libraries appear in no public header and link nothing, so a consumer need not have them.
set(linked ${libraries})
list(REMOVE_ITEM linked nlohmann_json::nlohmann_json Eigen3::Eigen)
target_link_libraries(reelm PRIVATE ${linked})
# While the version is 0.x a minor version may change the interface, and so the name that programs look for.
set(REELM_ABI ${PROJECT_VERSION_MAJOR})
if(REELM_ABI EQUAL 0)
  string(APPEND REELM_ABI .${PROJECT_VERSION_MINOR})
endif()
set_target_properties(reelm PROPERTIES
  VERSION ${PROJECT_VERSION} SOVERSION ${REELM_ABI} EXPORT_NAME pipeline LINKER_LANGUAGE CXX)
if(BUILD_SHARED_LIBS)
  set(map ${PROJECT_BINARY_DIR}/reelm.map)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/reelm.map.in ${map} @ONLY)
  target_link_options(reelm PRIVATE -Wl,--version-script=${map})
  set_target_properties(reelm PROPERTIES LINK_DEPENDS ${map})
endif()

# For the repository's own programs and tests: the library, every header as the layers see it, and what the
# internal ones include.
add_library(reelm_internal INTERFACE)
target_include_directories(reelm_internal INTERFACE ${PROJECT_SOURCE_DIR})
target_link_libraries(reelm_internal INTERFACE reelm ${libraries})

# --- installation -------------------------------------------------------------------------------------------
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/reelm)

install(TARGETS reelm EXPORT reelmTargets
  LIBRARY COMPONENT runtime NAMELINK_COMPONENT devel
  ARCHIVE COMPONENT devel)
install(EXPORT reelmTargets NAMESPACE reelm:: DESTINATION ${package_dir} COMPONENT devel)
configure_package_config_file(
  ${PROJECT_SOURCE_DIR}/cmake/reelmConfig.cmake.in ${PROJECT_BINARY_DIR}/reelmConfig.cmake
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/reelmConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/reelmConfig.cmake ${PROJECT_BINARY_DIR}/reelmConfigVersion.cmake
              ${PROJECT_SOURCE_DIR}/cmake/ReelmLinkDependencies.cmake DESTINATION ${package_dir} COMPONENT devel)

# reelm.pc finds its prefix from its own place. With the static library every program links what it needs;
# what the shared one needs is its own affair.
file(RELATIVE_PATH prefix_from_pc /p/${CMAKE_INSTALL_LIBDIR}/pkgconfig /p)
set(pc_libs "-lreelm")
set(pc_requires "")
if(NOT BUILD_SHARED_LIBS)
  string(APPEND pc_libs " -ldnnl")
  foreach(name IN LISTS OpenMP_CXX_LIB_NAMES)  # GCC's is known to every linker, clang's by its path only
    if(OpenMP_CXX_LIB_NAMES MATCHES gomp OR name STREQUAL pthread)
      string(APPEND pc_libs " -l${name}")
    else()
      string(APPEND pc_libs " ${OpenMP_${name}_LIBRARY}")
    endif()
  endforeach()
  set(pc_requires "libavformat libavcodec libavutil libswscale libwebp libwebpdemux libjpeg libpng zlib icu-i18n icu-uc sentencepiece libxxhash libseccomp fmt")
endif()
configure_file(${PROJECT_SOURCE_DIR}/cmake/reelm.pc.in ${PROJECT_BINARY_DIR}/reelm.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/reelm.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT devel)

# The headers of the layers, but those whose opening comment says "Not installed", and those of the
# implementations. tools/check_layers.py sees to it that the installed ones need nothing else.
foreach(layer IN LISTS layers)
  string(REPLACE reelm_ "" folder ${layer})
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/${folder}/*.h)
  list(FILTER headers EXCLUDE REGEX "^(kernels/[^/]+|preprocess/vector)/")
  foreach(header IN LISTS headers)
    file(STRINGS ${PROJECT_SOURCE_DIR}/${header} mark REGEX "^//.*Not installed" LIMIT_COUNT 1)
    if(NOT mark)
      cmake_path(GET header PARENT_PATH subfolder)
      install(FILES ${PROJECT_SOURCE_DIR}/${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/reelm/${subfolder}
              COMPONENT devel)
    endif()
  endforeach()
endforeach()

# A program finds the model from its own place (../share/reelm/models/demo), so that a prefix can be moved.
install(DIRECTORY ${PROJECT_SOURCE_DIR}/models/demo DESTINATION ${CMAKE_INSTALL_DATADIR}/reelm/models
        COMPONENT runtime)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/CHANGELOG.md ${PROJECT_SOURCE_DIR}/SECURITY.md
        DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)
install(FILES ${PROJECT_SOURCE_DIR}/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime OPTIONAL)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime
        FILES_MATCHING PATTERN "*.md")
