# All layers as one library.
get_property(layers GLOBAL PROPERTY REELM_LAYERS)
get_property(libraries GLOBAL PROPERTY REELM_LIBRARIES)
list(REMOVE_DUPLICATES libraries)

add_library(reelm)
add_library(reelm::pipeline ALIAS reelm)
foreach(layer IN LISTS layers)
  target_sources(reelm PRIVATE $<TARGET_OBJECTS:${layer}>)
endforeach()
target_include_directories(reelm PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
target_link_libraries(reelm PUBLIC ${libraries})
set_target_properties(reelm PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR} LINKER_LANGUAGE CXX)
