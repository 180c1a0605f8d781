# How the runner is linked: everything static where that works, so that it runs on any system of
# its kind. Sets _linking, a word for the build options.

# Whether the tools at hand can link a C++ program statically, thread and all.
function(netadapt_can_link_statically result)
  set(CMAKE_TRY_COMPILE_TARGET_TYPE EXECUTABLE) # toolchain files may have it otherwise
  set(_probe "${CMAKE_CURRENT_BINARY_DIR}/static_probe.cpp")
  file(WRITE "${_probe}"
    "#include <string>\n#include <thread>\n"
    "int main(int n, char** v) { std::thread t([] {}); t.join(); return (int)std::string(v[n - 1]).size(); }\n")
  try_compile(_links "${CMAKE_CURRENT_BINARY_DIR}/static_probe" "${_probe}"
    LINK_OPTIONS -static LINK_LIBRARIES Threads::Threads)
  set(${result} "${_links}" PARENT_SCOPE)
endfunction()

set(_static "${NETADAPT_STATIC}")
if(_static STREQUAL "AUTO")
  set(_static ON)
  foreach(_target executorch extension_data_loader extension_threadpool xnnpack_backend ${_kernels})
    get_target_property(_type ${_target} TYPE)
    if(_type STREQUAL "SHARED_LIBRARY")
      set(_static OFF)
    endif()
  endforeach()
  if(ANDROID)
    set(_static OFF) # the NDK has no static liblog
  elseif(_static)
    netadapt_can_link_statically(_static)
  endif()
endif()

if(_static)
  set(_linking "static")
  # Before version 2.34 of glibc, a static program that does not take all of libpthread may find
  # some of its functions missing while it runs; later ones have an empty library of that name.
  target_link_options(netadapt_runner PRIVATE
    -static "LINKER:--whole-archive,-lpthread,--no-whole-archive")
else()
  set(_linking "dynamic")
  get_target_property(_type executorch TYPE)
  if(NOT _type STREQUAL "SHARED_LIBRARY")
    target_link_options(netadapt_runner PRIVATE -static-libstdc++)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      target_link_options(netadapt_runner PRIVATE -static-libgcc)
    endif()
  endif()
endif()
if(ANDROID)
  target_link_options(netadapt_runner PRIVATE LINKER:-z,max-page-size=16384) # Android 15 on
endif()
if(NETADAPT_STRIP)
  target_link_options(netadapt_runner PRIVATE LINKER:--strip-all)
endif()
