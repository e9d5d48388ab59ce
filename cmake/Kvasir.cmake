# Compiler settings and the two functions that every folder uses.

include(GoogleTest)

find_program(KVASIR_CCACHE ccache)
if(KVASIR_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # A precompiled header carries its own time stamp; the sloppiness is what ccache asks for to cache its users.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${KVASIR_CCACHE})
endif()

add_library(kvasir_options INTERFACE)
target_compile_options(kvasir_options INTERFACE -Wall -Wextra -Werror -Wshadow=local -Wnon-virtual-dtor
                       -ffp-contract=off -fno-omit-frame-pointer)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(kvasir_options INTERFACE -Wno-restrict)  # g++ 12 warns of std::string's own code (PR 105651)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(kvasir_options INTERFACE -Wthread-safety -Wno-error=shadow -Wno-shadow)
endif()
if(KVASIR_SANITIZE)
  target_compile_options(kvasir_options INTERFACE -fsanitize=${KVASIR_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(kvasir_options INTERFACE -fsanitize=${KVASIR_SANITIZE})
  if(KVASIR_SANITIZE MATCHES "address")
    # AddressSanitizer sees what these two see, and they are a quarter of the build's time.
    target_compile_options(kvasir_options INTERFACE -fno-sanitize=null,object-size)
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # The checks that a sanitizer puts in between hide from these warnings what belongs together.
    target_compile_options(kvasir_options INTERFACE -Wno-maybe-uninitialized -Wno-mismatched-new-delete)
  endif()
endif()
if(CMAKE_UNITY_BUILD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # It warns of what a header must not have, and takes sources that are compiled together for headers.
  target_compile_options(kvasir_options INTERFACE -Wno-subobject-linkage)
endif()
target_include_directories(kvasir_options INTERFACE ${CMAKE_SOURCE_DIR}/src)

# What nearly every test includes, compiled once for all of them: without it that would be most of a build's time.
add_library(kvasir_test_pch STATIC ${CMAKE_CURRENT_LIST_DIR}/test_pch.cpp)
target_link_libraries(kvasir_test_pch PRIVATE kvasir_options GTest::gtest GTest::gmock fmt::fmt)
target_precompile_headers(kvasir_test_pch PRIVATE <gtest/gtest.h> <gmock/gmock.h> <fmt/format.h> <nlohmann/json.hpp>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(kvasir_options INTERFACE -fpch-preprocess)  # for ccache
endif()

# kvasir_use_pch(TARGET ...): target_precompile_headers without what g++ 12 says of them.
function(kvasir_use_pch target)
  target_precompile_headers(${target} ${ARGN})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # It warns of std::string's own code, which it takes for ours there.
    target_compile_options(${target} PRIVATE -Wno-stringop-overflow -Wno-array-bounds)
  endif()
endfunction()

add_custom_target(unit_tests)    # what ./dev test runs under ASan and UBSan
add_custom_target(release_tests)  # what it runs in release: where optimisation or a whole process matters
add_custom_target(thread_tests)  # and what it runs under TSan

# kvasir_library(NAME DEPS folder... LIBS target... [PCH header...] [THREADED] [OPTIMISED])
# Library kvasir_NAME from the folder's *.cpp, and NAME_test from its *_test.cpp. PCH headers are compiled once for
# the library and its test. The test of a THREADED folder also runs under TSan;
# those of THREADED and OPTIMISED folders run in release as well.
function(kvasir_library name)
  cmake_parse_arguments(ARG "THREADED;OPTIMISED" "" "DEPS;LIBS;PCH" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp ${CMAKE_CURRENT_SOURCE_DIR}/*/*.cpp)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  if(KVASIR_SANITIZE)
    list(FILTER tests EXCLUDE REGEX "_allocation_test\\.cpp$")  # they replace operator new, as sanitizers do
  endif()
  if(NOT sources)
    return()
  endif()
  add_library(kvasir_${name} STATIC ${sources})
  list(TRANSFORM ARG_DEPS PREPEND kvasir_)
  target_link_libraries(kvasir_${name} PUBLIC kvasir_options ${ARG_DEPS} PRIVATE ${ARG_LIBS})
  set_property(GLOBAL APPEND PROPERTY KVASIR_LIBRARIES kvasir_${name})
  if(ARG_PCH)
    kvasir_use_pch(kvasir_${name} PRIVATE ${ARG_PCH})
  endif()
  if(tests)
    set(label unit)
    if(ARG_THREADED)
      set(label unit-threads)  # one label, because gtest_discover_tests takes no list; ctest -L takes a part
      add_dependencies(thread_tests ${name}_test)
    elseif(ARG_OPTIMISED)
      set(label unit-optimised)
    endif()
    kvasir_test(${name}_test SOURCES ${tests} LABEL ${label} LIBS kvasir_${name} ${ARG_LIBS})
    add_dependencies(unit_tests ${name}_test)
    if(ARG_THREADED OR ARG_OPTIMISED)
      add_dependencies(release_tests ${name}_test)
    endif()
  endif()
endfunction()

# kvasir_test(NAME SOURCES ... LABEL ... LIBS ...): a GoogleTest executable, one ctest entry per test case.
# Tests of real data find it through KVASIR_SHARED_DATA (see tests/shared_data.h).
function(kvasir_test name)
  cmake_parse_arguments(ARG "" "LABEL" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE kvasir_options ${ARG_LIBS} fmt::fmt GTest::gtest GTest::gmock GTest::gtest_main)
  kvasir_use_pch(${name} REUSE_FROM kvasir_test_pch)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_definitions(${name} PRIVATE KVASIR_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST PROPERTIES TIMEOUT 600 LABELS ${ARG_LABEL})
endfunction()
