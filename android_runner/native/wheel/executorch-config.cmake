# Describes the installed ExecuTorch Python wheel by the target names of a C++ install, so that the
# project above need not know which of the two it is built against.
find_package(Python3 REQUIRED COMPONENTS Interpreter)

execute_process(
  COMMAND "${Python3_EXECUTABLE}" "${CMAKE_CURRENT_LIST_DIR}/locate.py"
  OUTPUT_VARIABLE _located OUTPUT_STRIP_TRAILING_WHITESPACE
  ERROR_VARIABLE _locate_error ERROR_STRIP_TRAILING_WHITESPACE
  RESULT_VARIABLE _locate_result)
if(NOT _locate_result EQUAL 0)
  message(FATAL_ERROR "${_locate_error}")
endif()
list(GET _located 0 executorch_VERSION)
list(GET _located 1 _wheel)
list(GET _located 2 _portable_lib)
list(GET _located 3 _torch_lib)
list(GET _located 4 _libpython)
set(executorch_BUILD_OPTIONS "python-wheel")

add_library(executorch SHARED IMPORTED)
set_target_properties(executorch PROPERTIES
  IMPORTED_LOCATION "${_portable_lib}"
  IMPORTED_NO_SONAME FALSE)
target_include_directories(executorch INTERFACE
  "${_wheel}/include" "${_wheel}/include/executorch/runtime/core/portable_type/c10")
target_compile_features(executorch INTERFACE cxx_std_20)
target_compile_definitions(executorch INTERFACE
  C10_USING_CUSTOM_GENERATED_MACROS
  ET_LOG_ENABLED=0               # the log functions are hidden in the wheel's library,
  NETADAPT_DEFINE_RUNTIME_ABORT) # and so is this one, which cannot be switched off
target_link_options(executorch INTERFACE
  -Wl,--allow-shlib-undefined -Wl,--no-as-needed
  "-Wl,-rpath,${_wheel}/backends/qualcomm" "-Wl,-rpath,${_torch_lib}")
target_link_libraries(executorch INTERFACE
  "${_torch_lib}/libtorch_python.so" "${_torch_lib}/libtorch.so"
  "${_torch_lib}/libtorch_cpu.so" "${_torch_lib}/libc10.so" "${_libpython}")
# Where the wheel has this library, the registry of backends is in it.
if(EXISTS "${_wheel}/backends/qualcomm/libqnn_executorch_backend.so")
  target_link_libraries(executorch INTERFACE
    "${_wheel}/backends/qualcomm/libqnn_executorch_backend.so")
endif()

# All in the one library.
foreach(_target extension_data_loader extension_threadpool xnnpack_backend portable_ops_lib)
  add_library(${_target} INTERFACE IMPORTED)
  target_link_libraries(${_target} INTERFACE executorch)
endforeach()
