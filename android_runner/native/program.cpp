#include "program.hpp"

#include <executorch/runtime/core/data_loader.h>
#include <executorch/runtime/core/exec_aten/util/scalar_type_util.h>
#include <executorch/runtime/core/hierarchical_allocator.h>
#include <executorch/runtime/executor/memory_manager.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>

#include "protocol.hpp"

namespace netadapt {
namespace {

namespace et = executorch::runtime;
using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::aten::TensorImpl;

constexpr std::size_t kAlignment = 64;
constexpr std::int64_t kMaxPlannedBytes = std::int64_t{1} << 31;

// Zeroed bytes on a cache line's boundary.
class AlignedBuffer {
 public:
  explicit AlignedBuffer(std::size_t size)
      : size_(size),
        bytes_(new (std::align_val_t{kAlignment}) std::byte[std::max<std::size_t>(size, 1)]()) {}

  std::byte* data() const { return bytes_.get(); }
  std::size_t size() const { return size_; }

 private:
  struct Delete {
    void operator()(std::byte* bytes) const {
      ::operator delete[](bytes, std::align_val_t{kAlignment});
    }
  };
  std::size_t size_;
  std::unique_ptr<std::byte[], Delete> bytes_;
};

AlignedBuffer read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const std::streamoff size = file ? static_cast<std::streamoff>(file.tellg()) : -1;
  if (size < 0) throw ProgramError("cannot open " + path);
  AlignedBuffer buffer(static_cast<std::size_t>(size));
  file.seekg(0);
  if (!file.read(reinterpret_cast<char*>(buffer.data()), size)) {
    throw ProgramError("cannot read " + path);
  }
  return buffer;
}

// A loader of our own, since not every ExecuTorch package exports one.
class MemoryLoader final : public et::DataLoader {
 public:
  explicit MemoryLoader(AlignedBuffer bytes) : bytes_(std::move(bytes)) {}

  et::Result<et::FreeableBuffer> load(
      std::size_t offset, std::size_t size, const SegmentInfo&) const override {
    if (!holds(offset, size)) return et::Error::InvalidProgram;
    return et::FreeableBuffer(bytes_.data() + offset, size, nullptr);
  }

  et::Error load_into(
      std::size_t offset, std::size_t size, const SegmentInfo&, void* buffer) const override {
    if (!holds(offset, size)) return et::Error::InvalidProgram;
    std::memcpy(buffer, bytes_.data() + offset, size);
    return et::Error::Ok;
  }

  et::Result<std::size_t> size() const override { return bytes_.size(); }

 private:
  bool holds(std::size_t offset, std::size_t size) const {
    return offset <= bytes_.size() && size <= bytes_.size() - offset;
  }

  AlignedBuffer bytes_;
};

// The runtime's allocator over ordinary heap memory, so that no size has to be guessed.
class HeapAllocator final : public et::MemoryAllocator {
 public:
  HeapAllocator() : et::MemoryAllocator(0, nullptr) {}

  void* allocate(std::size_t size, std::size_t alignment) override {
    if (!isPowerOf2(alignment) || alignment > kAlignment) return nullptr;
    blocks_.emplace_back(size);
    return blocks_.back().data();
  }

  void reset() override { blocks_.clear(); }

 private:
  std::vector<AlignedBuffer> blocks_;
};

// Uniform in [-1, 1) for floating point (small magnitudes: no overflow, no denormals), 0 to 15 for
// integers, which quantised types and indices both stand. Not zeros: kernels may treat those apart.
void fill(AlignedBuffer& buffer, ScalarType type, std::mt19937_64& random) {
  const auto fill_as = [&]<typename Value>(Value, auto draw) {
    for (std::size_t i = 0; i + sizeof(Value) <= buffer.size(); i += sizeof(Value)) {
      const Value value = static_cast<Value>(draw(random()));
      std::memcpy(buffer.data() + i, &value, sizeof value);
    }
  };
  const auto real = [](std::uint64_t bits) {
    return static_cast<float>(static_cast<std::int64_t>(bits >> 40) - (1 << 23)) / (1 << 23);
  };
  const auto small = [](std::uint64_t bits) { return bits & 15; };
  switch (type) {
    case ScalarType::Float: return fill_as(float{}, real);
    case ScalarType::Double: return fill_as(double{}, real);
    case ScalarType::Half: return fill_as(executorch::aten::Half{}, real);
    case ScalarType::BFloat16: return fill_as(executorch::aten::BFloat16{}, real);
    case ScalarType::Bool: return fill_as(bool{}, [](std::uint64_t bits) { return bits & 1; });
    case ScalarType::Byte: return fill_as(std::uint8_t{}, small);
    case ScalarType::Char: return fill_as(std::int8_t{}, small);
    case ScalarType::Short: return fill_as(std::int16_t{}, small);
    case ScalarType::Int: return fill_as(std::int32_t{}, small);
    case ScalarType::Long: return fill_as(std::int64_t{}, small);
    default: throw ProgramError(std::string("cannot make inputs of type ") + et::toString(type));
  }
}

// Flattened values, in memory order, as JSON numbers.
std::string values_json(const Tensor& tensor) {
  const auto numbers = [&]<typename Value>(Value) {
    const auto* values = static_cast<const Value*>(tensor.const_data_ptr());
    return json_array(et::Span<const Value>(values, static_cast<std::size_t>(tensor.numel())),
                      [](Value value) { return json_number(static_cast<double>(value)); });
  };
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return numbers(float{});
    case ScalarType::Double: return numbers(double{});
    case ScalarType::Half: return numbers(executorch::aten::Half{});
    case ScalarType::BFloat16: return numbers(executorch::aten::BFloat16{});
    case ScalarType::Bool: return numbers(bool{});
    case ScalarType::Byte: return numbers(std::uint8_t{});
    case ScalarType::Char: return numbers(std::int8_t{});
    case ScalarType::Short: return numbers(std::int16_t{});
    case ScalarType::Int: return numbers(std::int32_t{});
    case ScalarType::Long: return numbers(std::int64_t{});
    default:
      throw ProgramError(
          std::string("cannot report outputs of type ") + et::toString(tensor.scalar_type()));
  }
}

// Like the method's own input, but over memory of ours. (Copied from it, since not every ExecuTorch
// package exports TensorImpl's other constructor; shape and strides stay the method's.)
struct Input {
  Input(const Tensor& own, std::mt19937_64& random)
      : bytes(static_cast<std::size_t>(own.numel()) * et::elementSize(own.scalar_type())),
        impl(*own.unsafeGetTensorImpl()) {
    fill(bytes, own.scalar_type(), random);
    impl.set_data(bytes.data());
  }

  AlignedBuffer bytes;
  TensorImpl impl;
};

}  // namespace

struct LoadedProgram::Storage {
  explicit Storage(AlignedBuffer bytes) : loader(std::move(bytes)) {}

  MemoryLoader loader;
  std::optional<et::Program> program;
  HeapAllocator method_allocator;
  std::vector<AlignedBuffer> planned;
  std::vector<et::Span<std::uint8_t>> planned_spans;
  std::optional<et::HierarchicalAllocator> planned_allocator;
  std::optional<et::MemoryManager> memory;
  std::vector<AlignedBuffer> outputs;
  std::vector<std::unique_ptr<Input>> inputs;  // by pointer: the tensors point into them
  std::optional<et::Method> method;            // last: destroyed first
};

void LoadedProgram::fail(const std::string& what, et::Error error) {
  throw ProgramError(what + " failed with " + et::to_string(error));
}

LoadedProgram::LoadedProgram(
    const std::string& path, const std::string& method_name, std::uint64_t seed)
    : storage_(std::make_unique<Storage>(read_file(path))) {
  Storage& own = *storage_;
  // A damaged file must fail here, not take the process down: ask for all the checks there are.
  auto program = et::Program::load(&own.loader, et::Program::Verification::InternalConsistency);
  if (!program.ok()) fail("reading the program", program.error());
  own.program.emplace(std::move(program.get()));

  auto meta = own.program->method_meta(method_name.c_str());
  if (!meta.ok()) fail("finding method " + method_name, meta.error());
  for (std::size_t i = 0; i < meta->num_memory_planned_buffers(); ++i) {
    auto size = meta->memory_planned_buffer_size(i);
    if (!size.ok()) fail("planning memory", size.error());
    // A damaged file may ask for more than there is, and zeroing it would drag the machine down.
    if (size.get() < 0 || size.get() > kMaxPlannedBytes) {
      throw ProgramError(
          "planned memory must be 0 to 2 GiB, got " + std::to_string(size.get()) + " bytes");
    }
    AlignedBuffer& buffer = own.planned.emplace_back(static_cast<std::size_t>(size.get()));
    own.planned_spans.emplace_back(reinterpret_cast<std::uint8_t*>(buffer.data()), buffer.size());
  }
  own.planned_allocator.emplace(
      et::Span<et::Span<std::uint8_t>>(own.planned_spans.data(), own.planned_spans.size()));
  own.memory.emplace(&own.method_allocator, &own.planned_allocator.value());

  auto method = own.program->load_method(method_name.c_str(), &own.memory.value());
  if (!method.ok()) fail("loading method " + method_name, method.error());
  own.method.emplace(std::move(method.get()));
  method_ = &own.method.value();

  std::mt19937_64 random(seed);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  for (std::size_t i = 0; i < method_->inputs_size(); ++i) {
    const et::EValue& input = method_->get_input(i);
    if (!input.isTensor()) throw ProgramError("input " + std::to_string(i) + " is no tensor");
    own.inputs.push_back(std::make_unique<Input>(input.toTensor(), random));
  }
#pragma GCC diagnostic pop
  for (std::size_t i = 0; i < meta->num_outputs(); ++i) {
    auto info = meta->output_tensor_meta(i);
    if (!info.ok() || info->is_memory_planned()) continue;
    AlignedBuffer& buffer = own.outputs.emplace_back(info->nbytes());
    const et::Error error = method_->set_output_data_ptr(buffer.data(), buffer.size(), i);
    if (error != et::Error::Ok) fail("placing output " + std::to_string(i), error);
  }
}

LoadedProgram::~LoadedProgram() = default;

void LoadedProgram::set_inputs() {
  for (std::size_t i = 0; i < storage_->inputs.size(); ++i) {
    const Tensor tensor(&storage_->inputs[i]->impl);
    const et::Error error = method_->set_input(et::EValue(tensor), i);
    if (error != et::Error::Ok) fail("setting input " + std::to_string(i), error);
  }
}

std::string LoadedProgram::outputs_json() const {
  std::vector<std::string> outputs;
  for (std::size_t i = 0; i < method_->outputs_size(); ++i) {
    const et::EValue& value = method_->get_output(i);
    if (!value.isTensor()) throw ProgramError("output " + std::to_string(i) + " is no tensor");
    const Tensor tensor = value.toTensor();
    JsonObject output("tensor");
    output.raw("shape", json_array(tensor.sizes(), [](auto size) { return std::to_string(size); }));
    output.add("dtype", et::toString(tensor.scalar_type()));
    output.raw("values", values_json(tensor));
    outputs.push_back(output.text());
  }
  return json_array(outputs, [](const std::string& text) { return text; });
}

}  // namespace netadapt
