# Two Debian packages, made by `cpack` in the build directory: reelm (programs, shared library, embedded model,
# documents) and libreelm-dev (headers, CMake package, pkg-config file, static library).
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME reelm)
set(CPACK_PACKAGE_VENDOR reelm)
set(CPACK_PACKAGE_CONTACT "reelm maintainers <maintainers@reelm.invalid>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL runtime devel)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION video)

set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME reelm)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)  # by dpkg-shlibdeps, of Debian's dpkg-dev
set(CPACK_COMPONENT_RUNTIME_DESCRIPTION "answers questions about videos on ordinary machines
 Decodes videos and images, runs vision-language models of the Qwen2-VL family on the
 CPU and streams the answer. Comes with a small demo model.")

set(CPACK_DEBIAN_DEVEL_PACKAGE_NAME libreelm-dev)
set(CPACK_DEBIAN_DEVEL_PACKAGE_SECTION libdevel)
set(CPACK_COMPONENT_DEVEL_DESCRIPTION "answers questions about videos (development files)
 Headers, library, CMake package and pkg-config file of reelm.")
# What the static library's users link (cmake/ReelmLinkDependencies.cmake).
set(devel_depends libavformat-dev libavcodec-dev libavutil-dev libswscale-dev libjpeg-dev libpng-dev libwebp-dev
                  zlib1g-dev libdnnl-dev libicu-dev libsentencepiece-dev libxxhash-dev libseccomp-dev libfmt-dev pkg-config)
if(BUILD_SHARED_LIBS)
  set(devel_depends "reelm (= ${PROJECT_VERSION})")
endif()
list(JOIN devel_depends ", " CPACK_DEBIAN_DEVEL_PACKAGE_DEPENDS)

include(CPack)
