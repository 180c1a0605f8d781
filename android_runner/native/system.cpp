#include "system.hpp"

#include <sched.h>
#include <sys/personality.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

namespace netadapt {
namespace {

// Marks a process that was restarted, so that a system which takes the setting and then drops it
// (as for programs that change their privileges) does not make it restart for ever.
constexpr const char* kRestarted = "NETADAPT_RUNNER_RESTARTED=";

std::optional<double> read_number(const std::filesystem::path& path) {
  std::ifstream file(path);
  double value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

std::string read_line(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::optional<double> cpufreq(int cpu, const char* file) {
  return read_number("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/cpufreq/" + file);
}

// How surely a thermal zone is one of the processor's cores: 2 by its name, 1 the chip's own sensors
// (many lie in the cores), 0 anything but a battery, a charger, a radio or a surface, -1 those.
int closeness(std::string type) {
  std::transform(type.begin(), type.end(), type.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const auto has = [&](const char* part) { return type.find(part) != std::string::npos; };
  // "cpu-0-0-usr", "cpu_thermal", "mtktscpu", "x86_pkg_temp", "coretemp"; Tensor and Exynos name
  // the clusters, Qualcomm "apc".
  if (has("cpu") || has("x86_pkg") || has("coretemp") || has("apc") || type == "big" ||
      type == "mid" || type == "little" || has("big-core") || has("little-core")) {
    return 2;
  }
  for (const char* part : {"batt", "bms", "charg", "usb", "skin", "quiet", "modem", "wlan", "wifi",
                           "pa_therm", "camera", "flash", "disp", "emmc", "ufs"}) {
    if (has(part)) return -1;
  }
  return has("tsens") || has("soc") ? 1 : 0;
}

// Degrees, from whichever unit the zone uses: whole degrees, tenths (the Pixel 1's cores) or
// thousandths. Nothing for what no chip has while it works.
std::optional<double> celsius(double value) {
  if (value >= 2000) {
    value /= 1000;
  } else if (value >= 150) {
    value /= 10;
  }
  if (value > 0 && value < 150) return value;
  return std::nullopt;
}

struct Zone {
  int closeness;
  double temperature_c;
  std::string type;
};

// The hottest of those zones that are closest to the cores. Nothing where all are something else's.
std::optional<Zone> core_zone() {
  std::optional<Zone> best;
  std::error_code failed;
  std::filesystem::directory_iterator entry("/sys/class/thermal", failed);
  for (; !failed && entry != std::filesystem::directory_iterator(); entry.increment(failed)) {
    const std::filesystem::path& zone = entry->path();
    if (zone.filename().string().rfind("thermal_zone", 0) != 0) continue;
    const std::optional<double> value = read_number(zone / "temp");
    const std::optional<double> temperature_c = value ? celsius(*value) : std::nullopt;
    if (!temperature_c) continue;
    std::string type = read_line(zone / "type");
    const int close = closeness(type);
    if (close < 0) continue;
    if (!best || close > best->closeness ||
        (close == best->closeness && *temperature_c > best->temperature_c)) {
      best = Zone{close, *temperature_c, std::move(type)};
    }
  }
  return best;
}

std::string or_null(std::optional<double> value) { return value ? json_number(*value) : "null"; }

cpu_set_t set_of(const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) {
    if (cpu < 0 || cpu >= CPU_SETSIZE) throw FatalError("no such core: " + std::to_string(cpu));
    CPU_SET(cpu, &set);
  }
  return set;
}

std::string list_of(const cpu_set_t& set) {
  std::string text;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    if (!text.empty()) text += ',';
    text += std::to_string(cpu);
  }
  return text.empty() ? "none" : text;
}

}  // namespace

bool fix_layout(char** argv, char** envp) {
  const int current = personality(0xffffffff);  // asks, changes nothing
  if (current == -1) return false;
  if (current & ADDR_NO_RANDOMIZE) return true;
  // Only what the kernel gives: before constructors have run, the C library knows no environment
  std::vector<char*> marked;
  for (char** variable = envp; *variable != nullptr; ++variable) {
    if (std::strncmp(*variable, kRestarted, std::strlen(kRestarted)) == 0) return false;
    marked.push_back(*variable);
  }
  if (personality(static_cast<unsigned long>(current) | ADDR_NO_RANDOMIZE) != -1) {
    std::string mark = std::string(kRestarted) + "1";
    marked.push_back(mark.data());
    marked.push_back(nullptr);
    std::vector<char> self(PATH_MAX + 1, '\0');
    if (readlink("/proc/self/exe", self.data(), PATH_MAX) > 0) {
      execve(self.data(), argv, marked.data());  // only comes back if it failed
    }
    personality(static_cast<unsigned long>(current));
  }
  return false;
}

#ifdef __GLIBC__
namespace {

// Before the constructors of the libraries, which in a dynamic build take longer than the rest of
// a start. Other C libraries leave these functions out or give them no arguments: `main` calls it
// in any case.
void before_constructors(int, char** argv, char** envp) { fix_layout(argv, envp); }

[[gnu::section(".preinit_array"), gnu::used]] void (*const kBeforeConstructors)(
    int, char**, char**) = before_constructors;

}  // namespace
#endif

void pin_to(const std::vector<int>& cpus) {
  if (cpus.empty()) throw FatalError("argument cpus must name a core");
  const cpu_set_t wanted = set_of(cpus);
  cpu_set_t allowed, effective;
  CPU_ZERO(&allowed);
  CPU_ZERO(&effective);
  sched_getaffinity(0, sizeof allowed, &allowed);
  const bool set = sched_setaffinity(0, sizeof wanted, &wanted) == 0;
  const int error = set ? 0 : errno;
  if (set) sched_getaffinity(0, sizeof effective, &effective);
  // The kernel drops cores that are offline or outside the process's cpuset without a word, and
  // refuses only where none is left.
  if (!set || !CPU_EQUAL(&wanted, &effective)) {
    const std::string online = read_line("/sys/devices/system/cpu/online");
    throw FatalError(
        "cannot be pinned to the cores " + list_of(wanted) + (set ? "" : ": ") +
        (set ? "" : std::strerror(error)) + "; online are " + (online.empty() ? "?" : online) +
        ", this process may use " + list_of(set ? effective : allowed) + " of them");
  }
}

bool still_pinned(const std::vector<int>& cpus) {
  const cpu_set_t wanted = set_of(cpus);
  cpu_set_t effective;
  CPU_ZERO(&effective);
  return sched_getaffinity(0, sizeof effective, &effective) == 0 && CPU_EQUAL(&wanted, &effective);
}

std::string slowest_core_khz(const std::vector<int>& cpus) {
  std::optional<double> slowest;
  for (const int cpu : cpus) {
    const std::optional<double> khz = cpufreq(cpu, "scaling_cur_freq");
    if (!khz) return "null";
    slowest = std::min(slowest.value_or(*khz), *khz);
  }
  return or_null(slowest);
}

void add_conditions(JsonObject& message, const std::vector<int>& cpus) {
  message.raw("freq_khz", or_null(cpufreq(cpus.front(), "scaling_cur_freq")));
  message.raw("freqs_khz", json_array(cpus, [](int cpu) {
                return or_null(cpufreq(cpu, "scaling_cur_freq"));
              }));
  message.raw("limits_khz", json_array(cpus, [](int cpu) {
                return or_null(cpufreq(cpu, "scaling_max_freq"));
              }));
  const std::optional<Zone> zone = core_zone();
  message.raw("temperature_c", zone ? json_number(zone->temperature_c) : "null");
  if (zone) {
    message.add("zone", zone->type);
  } else {
    message.raw("zone", "null");
  }
  message.raw("load_avg", or_null(read_number("/proc/loadavg")));
}

}  // namespace netadapt
