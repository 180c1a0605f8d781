// What the operating system tells about the machine: cores, frequency, temperature, load.
#pragma once

#include <vector>

#include "protocol.hpp"

namespace netadapt {

// Restarts the program without address space randomisation where that is allowed; returns whether
// addresses are fixed. Where code and data lie decides which of them collide in caches and branch
// predictors: it made some kernels 20 % and more faster or slower for a whole process's life.
bool fix_layout(char** argv);

// Pins this thread, and the threads it starts later, to the cores. Throws FatalError.
void pin_to(const std::vector<int>& cpus);

// Adds freq_khz, temperature_c and load_avg (null where unknown) of now.
void add_conditions(JsonObject& message, const std::vector<int>& cpus);

}  // namespace netadapt
