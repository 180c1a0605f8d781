// What the operating system tells about the machine: cores, frequency, temperature, load.
#pragma once

#include <string>
#include <vector>

#include "protocol.hpp"

namespace netadapt {

// Processor and system this is compiled for, such as aarch64-Android. Asked of the compiler, since
// toolchain files may leave CMake's own variables empty.
inline constexpr const char* kAbi =
#if defined(__aarch64__)
    "aarch64"
#elif defined(__arm__)
    "arm"
#elif defined(__x86_64__)
    "x86_64"
#elif defined(__i386__)
    "x86"
#elif defined(__riscv) && __riscv_xlen == 64
    "riscv64"
#else
    "unknown"
#endif
#if defined(__ANDROID__)
    "-Android";
#elif defined(__linux__)
    "-Linux";
#else
    "-unknown";
#endif

// Restarts the program without address space randomisation where that is allowed; returns whether
// addresses are fixed. Where code and data lie decides which of them collide in caches and branch
// predictors: it made some kernels 20 % and more faster or slower for a whole process's life.
bool fix_layout(char** argv, char** envp);

// Pins this thread, and the threads it starts later, to the cores. Throws FatalError.
void pin_to(const std::vector<int>& cpus);

// Whether this thread still is where `pin_to` put it: a phone may switch a core off at any time, and
// the kernel then lets the thread run anywhere.
bool still_pinned(const std::vector<int>& cpus);

// The lowest current frequency of the cores, a JSON number or null where one is unknown.
std::string slowest_core_khz(const std::vector<int>& cpus);

// Adds what the cores and the machine are like now (null where unknown): docs/protocol.md, `start`.
void add_conditions(JsonObject& message, const std::vector<int>& cpus);

}  // namespace netadapt
