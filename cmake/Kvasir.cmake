# Compiler settings and the two functions that every folder uses.

include(GoogleTest)

add_library(kvasir_options INTERFACE)
target_compile_options(kvasir_options INTERFACE -Wall -Wextra -Werror -Wshadow=local -Wnon-virtual-dtor
                       -ffp-contract=off -fno-omit-frame-pointer)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(kvasir_options INTERFACE -Wthread-safety -Wno-error=shadow -Wno-shadow)
endif()
if(KVASIR_SANITIZE)
  target_compile_options(kvasir_options INTERFACE -fsanitize=${KVASIR_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(kvasir_options INTERFACE -fsanitize=${KVASIR_SANITIZE})
endif()
target_include_directories(kvasir_options INTERFACE ${CMAKE_SOURCE_DIR}/src)

# kvasir_library(NAME DEPS... [LIBS PUBLIC/PRIVATE-style link items])
# Library kvasir_NAME from the folder's *.cpp, and NAME_test from its *_test.cpp.
function(kvasir_library name)
  cmake_parse_arguments(ARG "" "" "DEPS;LIBS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp ${CMAKE_CURRENT_SOURCE_DIR}/*/*.cpp)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  if(NOT sources)
    return()
  endif()
  add_library(kvasir_${name} STATIC ${sources})
  list(TRANSFORM ARG_DEPS PREPEND kvasir_)
  target_link_libraries(kvasir_${name} PUBLIC kvasir_options ${ARG_DEPS} PRIVATE ${ARG_LIBS})
  if(tests)
    kvasir_test(${name}_test SOURCES ${tests} LIBS kvasir_${name} ${ARG_LIBS})
  endif()
endfunction()

# kvasir_test(NAME SOURCES ... LIBS ...): a GoogleTest executable, one ctest entry per test case.
# Tests of real data find it through KVASIR_SHARED_DATA (see tests/shared_data.h).
function(kvasir_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE kvasir_options ${ARG_LIBS} GTest::gtest GTest::gmock GTest::gtest_main)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_definitions(${name} PRIVATE KVASIR_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST PROPERTIES TIMEOUT 600)
endfunction()
