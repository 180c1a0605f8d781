// One program's method, loaded and ready to be called, with inputs of its own.
#pragma once

#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace netadapt {

// A program that cannot be loaded or executed; the others are not concerned.
struct ProgramError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class LoadedProgram {
 public:
  // Reads and loads the method; draws its inputs from the seed. Throws ProgramError.
  LoadedProgram(const std::string& path, const std::string& method, std::uint64_t seed);
  ~LoadedProgram();

  // Hands the inputs in again: a planned input's memory may be reused while executing.
  void set_inputs();

  void execute() {
    const executorch::runtime::Error error = method_->execute();
    if (error != executorch::runtime::Error::Ok) fail("execute", error);
  }

  // JSON array of {shape, dtype, values} of the last call's outputs.
  std::string outputs_json() const;

 private:
  [[noreturn]] static void fail(const std::string& what, executorch::runtime::Error error);

  struct Storage;  // owns what the method points into
  std::unique_ptr<Storage> storage_;
  executorch::runtime::Method* method_ = nullptr;
};

}  // namespace netadapt
