# Finds the ExecuTorch package and makes up for what installs of it are known to get wrong.
# Sets _runtime_version, _build_options, _extra_includes and _kernels. Messages that begin with
# "netadapt:" are shown to whoever called `netadapt runner build`.

# Some targets of ExecuTorch 1.3 are exported with a path into the tree they were built in, and its
# package then stops here once that tree is gone, needed or not. What is needed is checked below.
set(_missing_files)
function(message)
  if("${ARGV}" MATCHES "^FATAL_ERROR;The imported target \"([^\"]+)\" references the file[ \n]+\"([^\"]+)\"")
    set(_missing_file_of_${CMAKE_MATCH_1} "${CMAKE_MATCH_2}" CACHE INTERNAL "")
    return()
  endif()
  _message(${ARGV})
endfunction()

# A toolchain file may confine the search to the target's own file system. The prefix is part of it.
if(executorch_DIR AND CMAKE_FIND_ROOT_PATH)
  cmake_path(ABSOLUTE_PATH executorch_DIR NORMALIZE OUTPUT_VARIABLE _package)
  string(REGEX REPLACE "/(lib[^/]*|share)(/[^/]+)?/cmake(/[^/]+)?/?$" "" _prefix "${_package}")
  list(APPEND CMAKE_FIND_ROOT_PATH "${_prefix}")
endif()

find_package(executorch NAMES executorch ExecuTorch CONFIG)
if(NOT executorch_CONFIG)
  message(FATAL_ERROR "netadapt: an ExecuTorch install must hold executorch-config.cmake, none "
    "found in '${executorch_DIR}'; name another prefix, or run `cmake --install` for it\n")
endif()
cmake_path(GET executorch_CONFIG PARENT_PATH _package)

# Portable and optimized operators register the same names, so exactly one library of them.
set(_kernels portable_ops_lib)
if(NOT TARGET portable_ops_lib AND TARGET optimized_native_cpu_ops_lib)
  set(_kernels optimized_native_cpu_ops_lib)
endif()

set(_flag_of_executorch "(none: the install is not whole)")
set(_flag_of_extension_data_loader "-DEXECUTORCH_BUILD_EXTENSION_DATA_LOADER=ON")
set(_flag_of_extension_threadpool
  "-DEXECUTORCH_BUILD_PTHREADPOOL=ON -DEXECUTORCH_BUILD_CPUINFO=ON")
set(_flag_of_xnnpack_backend "-DEXECUTORCH_BUILD_XNNPACK=ON")
set(_flag_of_portable_ops_lib "-DEXECUTORCH_BUILD_PORTABLE_OPS=ON")
set(_lacking)
set(_flags)
foreach(_target executorch extension_data_loader extension_threadpool xnnpack_backend ${_kernels})
  if(NOT TARGET ${_target} OR DEFINED CACHE{_missing_file_of_${_target}})
    list(APPEND _lacking ${_target})
    list(APPEND _flags "${_flag_of_${_target}}")
  endif()
endforeach()
if(_lacking)
  list(JOIN _lacking ", " _lacking)
  list(JOIN _flags " " _flags)
  message(FATAL_ERROR "netadapt: an ExecuTorch install must have the components the runner needs, "
    "${_package} lacks ${_lacking}; build and install ExecuTorch with ${_flags}\n")
endif()

# Imported targets may list folders of the machine they were built on, which CMake refuses.
get_property(_imported DIRECTORY PROPERTY IMPORTED_TARGETS)
foreach(_target ${_imported})
  get_target_property(_folders ${_target} INTERFACE_INCLUDE_DIRECTORIES)
  if(_folders)
    set(_present)
    foreach(_folder ${_folders})
      if(_folder MATCHES "[$]<" OR EXISTS "${_folder}")
        list(APPEND _present "${_folder}")
      endif()
    endforeach()
    set_target_properties(${_target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${_present}")
  endif()
endforeach()
set(_extra_includes)
foreach(_up ../../.. ../../../.. ../..)
  cmake_path(ABSOLUTE_PATH _up BASE_DIRECTORY "${_package}" NORMALIZE OUTPUT_VARIABLE _root)
  if(EXISTS "${_root}/include/executorch/runtime/executor/program.h")
    set(_extra_includes
      "${_root}/include" "${_root}/include/executorch/runtime/core/portable_type/c10")
    break()
  endif()
endforeach()

if(executorch_VERSION)
  set(_runtime_version "${executorch_VERSION}")
else()
  set(_runtime_version "unknown")
endif()

if(executorch_BUILD_OPTIONS)
  set(_build_options "${executorch_BUILD_OPTIONS}")
else()
  set(_build_options "cmake-install ${_kernels}")
  foreach(_target kleidiai xnnpack-microkernels-prod optimized_kernels)
    if(TARGET ${_target})
      string(APPEND _build_options " ${_target}")
    endif()
  endforeach()
  foreach(_target executorch executorch_core xnnpack_backend)
    if(TARGET ${_target})
      get_target_property(_definitions ${_target} INTERFACE_COMPILE_DEFINITIONS)
      if(_definitions MATCHES "ET_EVENT_TRACER_ENABLED")
        set(_event_tracer ON)
      endif()
    endif()
  endforeach()
  if(_event_tracer)
    string(APPEND _build_options " event-tracer")
    message(WARNING "netadapt: the event tracer slows XNNPACK down while it is timed; build "
      "ExecuTorch with -DEXECUTORCH_ENABLE_EVENT_TRACER=OFF\n")
  endif()
endif()
