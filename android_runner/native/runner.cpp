// Times a batch of ExecuTorch programs, interleaved over several rounds. See docs/protocol.md.

#include <executorch/extension/threadpool/threadpool.h>
#include <executorch/runtime/backend/interface.h>
#include <executorch/runtime/kernel/operator_registry.h>
#include <executorch/runtime/platform/runtime.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <random>

#include "program.hpp"
#include "protocol.hpp"
#include "serving.hpp"
#include "system.hpp"

#ifdef NETADAPT_DEFINE_RUNTIME_ABORT
// The Python wheel's library hides this symbol, which the runtime's inline headers call.
void executorch::runtime::runtime_abort() { std::abort(); }
#endif

namespace netadapt {
namespace {

constexpr int kSentinel = -1;  // index of the sentinel in messages

using Clock = std::chrono::steady_clock;

double elapsed_us(Clock::time_point since) {
  return std::chrono::duration<double, std::micro>(Clock::now() - since).count();
}

struct Settings {
  explicit Settings(Arguments& arguments)
      : threads(arguments.take_number<unsigned>("threads", 1)),
        cpus(arguments.take_cpus("cpus")),
        rounds(arguments.take_number<int>("rounds", 1)),
        warmup_us(1e3 * arguments.take_number<double>("warmup_ms", 0)),
        visit_us(1e3 * arguments.take_number<double>("visit_ms", 0)),
        min_sample_us(arguments.take_number<double>("min_sample_us", 0)),
        seed(arguments.take_number<std::uint64_t>("seed", 0)),
        outputs(arguments.take_number<int>("outputs", 0) != 0),
        sentinel_method(arguments.take("sentinel", "")) {
    const int programs = arguments.take_number<int>("programs", 0);
    for (int i = 0; i < programs; ++i) {
      methods.push_back(arguments.take("method." + std::to_string(i), "forward"));
      paths.push_back(place(arguments, std::to_string(i) + ".pte"));
    }
    sentinel_path = place(arguments, "sentinel.pte");
    arguments.finish();
  }

  unsigned threads;
  std::vector<int> cpus;
  int rounds;
  double warmup_us;
  double visit_us;
  double min_sample_us;
  std::uint64_t seed;
  bool outputs;
  std::string sentinel_method;  // empty: no sentinel
  std::string sentinel_path;
  std::vector<std::string> methods;  // by program, as are the paths
  std::vector<std::string> paths;

 private:
  // In this folder, or where the arguments say.
  static std::string place(Arguments& arguments, const std::string& file) {
    return arguments.take("at." + file, file);
  }
};

// One program's way through the run: loaded, warmed up, visited once a round.
class Subject {
 public:
  Subject(int index, std::string path, std::string method)
      : index_(index), path_(std::move(path)), method_(std::move(method)) {}

  int index() const { return index_; }
  bool alive() const { return program_ != nullptr; }
  const std::vector<double>& last_round() const { return rounds_us_.back(); }

  void load(const Settings& settings) {
    attempt("load", [&] {
      program_ = std::make_unique<LoadedProgram>(path_, method_, settings.seed);
    });
  }

  // Keeps the outputs of the first call, warms up, and decides how many calls make a sample.
  void warm_up(const Settings& settings) {
    attempt("execute", [&] {
      program_->set_inputs();
      program_->execute();
      if (settings.outputs) outputs_ = program_->outputs_json();
      double fastest_us = INFINITY;
      const auto start = Clock::now();
      do {
        fastest_us = std::min(fastest_us, sample_us(1));
      } while (elapsed_us(start) < settings.warmup_us);
      calls_per_sample_ = static_cast<int>(
          std::clamp(std::ceil(settings.min_sample_us / std::max(fastest_us, 1e-3)), 1.0, 1e6));
      rounds_us_.reserve(static_cast<std::size_t>(settings.rounds));
    });
  }

  // One round's samples. The first group of calls is not kept: it finds other programs' data in
  // the caches.
  void visit(const Settings& settings) {
    attempt("execute", [&] {
      std::vector<double> samples;
      program_->set_inputs();
      sample_us(calls_per_sample_);
      const auto start = Clock::now();
      do {
        samples.push_back(sample_us(calls_per_sample_));
      } while (elapsed_us(start) < settings.visit_us);
      rounds_us_.push_back(std::move(samples));
    });
  }

  void report() const {
    JsonObject message("result");
    message.add("program", index_).add("calls_per_sample", calls_per_sample_);
    message.raw("rounds_us", json_array(rounds_us_, [](const auto& samples) {
      return json_array(samples, json_number);
    }));
    if (!outputs_.empty()) message.raw("outputs", outputs_);
    send(message);
  }

 private:
  double sample_us(int calls) {
    const auto start = Clock::now();
    for (int i = 0; i < calls; ++i) program_->execute();
    return elapsed_us(start) / calls;
  }

  void attempt(const char* kind, const std::function<void()>& step) {
    try {
      step();
    } catch (const std::exception& error) {  // out of memory is this program's failure too
      program_.reset();
      send(JsonObject("failure")
               .add("program", index_)
               .add("kind", kind)
               .add("message", error.what()));
    }
  }

  int index_;
  std::string path_;
  std::string method_;
  std::unique_ptr<LoadedProgram> program_;
  int calls_per_sample_ = 1;
  std::vector<std::vector<double>> rounds_us_;
  std::string outputs_;
};

// What the build can execute, by name: a static build that was linked without whole archives loses
// its backends and kernels without a word.
std::string backends_json() {
  namespace et = executorch::runtime;
  std::vector<std::string> names;
  for (std::size_t i = 0; i < et::get_num_registered_backends(); ++i) {
    const auto name = et::get_backend_name(i);
    if (name.ok()) names.emplace_back(name.get());
  }
  return json_array(names, json_text);
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void run(const Settings& settings) {
  pin_to(settings.cpus);
  // Before any method is loaded: a method keeps the pool it was loaded with.
  auto* pool = executorch::extension::threadpool::get_threadpool();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  if (pool == nullptr || !pool->_unsafe_reset_threadpool(settings.threads)) {
    throw FatalError("cannot set the number of threads");
  }
#pragma GCC diagnostic pop

  JsonObject start("start");
  add_conditions(start, settings.cpus);
  send(start);

  std::optional<Subject> sentinel;
  if (!settings.sentinel_method.empty()) {
    sentinel.emplace(kSentinel, settings.sentinel_path, settings.sentinel_method);
  }
  std::vector<Subject> subjects;
  for (std::size_t i = 0; i < settings.methods.size(); ++i) {
    subjects.emplace_back(static_cast<int>(i), settings.paths[i], settings.methods[i]);
  }

  // Announced before each step, so that whoever reads knows what was in flight at a crash.
  const std::int64_t total = static_cast<std::int64_t>(subjects.size()) * (settings.rounds + 2);
  std::int64_t done = 0;
  const auto announce = [&](const Subject& subject) {
    send(JsonObject("progress")
             .add("program", subject.index())
             .add("done", done)
             .add("total", total));
  };
  const auto each = [&](auto step) {
    if (sentinel && (done == 0 || sentinel->alive())) {
      announce(*sentinel);
      step(*sentinel);
    }
    for (Subject& subject : subjects) {
      announce(subject);
      step(subject);
      ++done;
    }
  };
  each([&](Subject& subject) { subject.load(settings); });
  each([&](Subject& subject) {
    if (subject.alive()) subject.warm_up(settings);
  });

  std::vector<double> sentinel_us;
  std::vector<std::string> round_freqs_khz;  // JSON, so that what is unknown can be null
  std::vector<std::size_t> order(subjects.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::mt19937_64 random(settings.seed);
  for (int round = 0; round < settings.rounds; ++round) {
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
    if (sentinel && sentinel->alive()) {
      announce(*sentinel);
      sentinel->visit(settings);
      if (sentinel->alive()) sentinel_us.push_back(median(sentinel->last_round()));
    }
    for (const std::size_t i : order) {
      if (subjects[i].alive()) {
        announce(subjects[i]);
        subjects[i].visit(settings);
      }
      ++done;
    }
    round_freqs_khz.push_back(slowest_core_khz(settings.cpus));
  }

  if (!still_pinned(settings.cpus)) {
    throw FatalError("a core that it was pinned to went offline while it ran");
  }
  for (const Subject& subject : subjects) {
    if (subject.alive()) subject.report();
  }
  JsonObject end("done");
  add_conditions(end, settings.cpus);
  end.raw("sentinel_us", json_array(sentinel_us, json_number));
  end.raw("round_freqs_khz", json_array(round_freqs_khz, [](const auto& text) { return text; }));
  send(end);
}

bool fixed_layout = false;

int answer(int argc, char** argv) {
  executorch::runtime::runtime_init();
  send(JsonObject("hello")
           .add("protocol", kProtocolVersion)
           .add("runtime", NETADAPT_RUNTIME_VERSION)
           .add("abi", kAbi)
           .add("options", NETADAPT_BUILD_OPTIONS)
           .add("layout", fixed_layout ? "fixed" : "random")
           .raw("backends", backends_json())
           .add("kernels", static_cast<std::int64_t>(
                               executorch::runtime::get_registered_kernels().size())));
  if (argc == 1) return 0;  // only asked who it is
  try {
    Arguments arguments(argc, argv);
    run(Settings(arguments));
  } catch (const std::exception& error) {
    send(JsonObject("fatal").add("message", error.what()));
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace netadapt

int main(int argc, char** argv, char** envp) {
  netadapt::fixed_layout = netadapt::fix_layout(argv, envp);
  const bool serves = argc == 2 && std::strcmp(argv[1], "serve") == 0;
  const int code = serves ? netadapt::serve(netadapt::answer) : netadapt::answer(argc, argv);
  // All has been written; the libraries' destructors would take 0.1 s to no use
  std::_Exit(code);
}
