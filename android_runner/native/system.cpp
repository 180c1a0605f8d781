#include "system.hpp"

#include <sched.h>
#include <sys/personality.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

namespace netadapt {
namespace {

std::optional<double> read_number(const std::filesystem::path& path) {
  std::ifstream file(path);
  double value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

// The hottest zone, since which zone is the CPU's differs from phone to phone. Zones report
// millidegrees, a few whole degrees, and some nonsense while they are switched off.
std::optional<double> hottest_zone_c() {
  std::optional<double> hottest;
  std::error_code unreadable;
  for (const auto& entry :
       std::filesystem::directory_iterator("/sys/class/thermal", unreadable)) {
    if (entry.path().filename().string().rfind("thermal_zone", 0) != 0) continue;
    std::optional<double> value = read_number(entry.path() / "temp");
    if (!value) continue;
    if (*value > 1000) *value /= 1000;
    if (*value > 0 && *value < 150) hottest = std::max(hottest.value_or(0), *value);
  }
  return hottest;
}

std::string or_null(std::optional<double> value) { return value ? json_number(*value) : "null"; }

}  // namespace

bool fix_layout(char** argv) {
  const int current = personality(0xffffffff);  // asks, changes nothing
  if (current == -1) return false;
  if (current & ADDR_NO_RANDOMIZE) return true;
  if (personality(static_cast<unsigned long>(current) | ADDR_NO_RANDOMIZE) != -1) {
    std::error_code unknown;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", unknown);
    execv(self.c_str(), argv);  // only comes back if it failed
    personality(static_cast<unsigned long>(current));
  }
  return false;
}

void pin_to(const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) {
    if (cpu < 0 || cpu >= CPU_SETSIZE) throw FatalError("no such core: " + std::to_string(cpu));
    CPU_SET(cpu, &set);
  }
  if (cpus.empty()) throw FatalError("argument cpus must name a core");
  cpu_set_t effective;
  if (sched_setaffinity(0, sizeof set, &set) != 0 ||
      sched_getaffinity(0, sizeof effective, &effective) != 0) {
    throw FatalError(std::string("cannot pin to the cores asked for: ") + std::strerror(errno));
  }
  // The kernel drops cores that are offline or forbidden without a word.
  if (!CPU_EQUAL(&set, &effective)) throw FatalError("some of the cores asked for cannot be used");
}

void add_conditions(JsonObject& message, const std::vector<int>& cpus) {
  const std::filesystem::path cpufreq =
      "/sys/devices/system/cpu/cpu" + std::to_string(cpus.front()) + "/cpufreq/scaling_cur_freq";
  message.raw("freq_khz", or_null(read_number(cpufreq)));
  message.raw("temperature_c", or_null(hottest_zone_c()));
  message.raw("load_avg", or_null(read_number("/proc/loadavg")));
}

}  // namespace netadapt
