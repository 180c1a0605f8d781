// The symbols that the runner asks of executorch_core. The registries work; programs do not load.
#include <executorch/runtime/backend/interface.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>
#include <executorch/runtime/kernel/operator_registry.h>
#include <executorch/runtime/platform/log.h>
#include <executorch/runtime/platform/runtime.h>

#include <cstdlib>

namespace executorch::runtime {

namespace {
Backend backends[4];
size_t backend_count = 0;
Kernel kernels[4];
size_t kernel_count = 0;
}  // namespace

Error register_backend(const Backend& backend) {
  backends[backend_count++] = backend;
  return Error::Ok;
}
size_t get_num_registered_backends() { return backend_count; }
Result<const char*> get_backend_name(size_t index) { return backends[index].name; }
BackendInterface::~BackendInterface() {}

Error register_kernels(const Span<const Kernel> added) {
  for (const Kernel& kernel : added) kernels[kernel_count++] = kernel;
  return Error::Ok;
}
Span<const Kernel> get_registered_kernels() { return {kernels, kernel_count}; }

void runtime_init() {}
void runtime_abort() { std::abort(); }
namespace internal {
et_timestamp_t get_log_timestamp() { return 0; }
void vlogf(LogLevel, et_timestamp_t, const char*, const char*, size_t, const char*, va_list) {}
Result<FreeableBuffer> PteDataMap::get_data(std::string_view) const { return Error::NotImplemented; }
Result<uint32_t> PteDataMap::get_num_keys() const { return Error::NotImplemented; }
Result<const char*> PteDataMap::get_key(uint32_t) const { return Error::NotImplemented; }
}  // namespace internal

Result<Program> Program::load(DataLoader*, Verification) { return Error::InvalidProgram; }
Result<MethodMeta> Program::method_meta(const char*) const { return Error::NotImplemented; }
Result<Method> Program::load_method(const char*, MemoryManager*, EventTracer*, const NamedDataMap*,
    const LoadBackendOptionsMap*, Span<const Kernel>) const {
  return Error::NotImplemented;
}
Method::~Method() {}
Error Method::execute() { return Error::NotImplemented; }
Error Method::set_input(const EValue&, size_t) { return Error::NotImplemented; }
Error Method::set_output_data_ptr(void*, size_t, size_t) { return Error::NotImplemented; }
size_t Method::inputs_size() const { return 0; }
size_t Method::outputs_size() const { return 0; }
const EValue& Method::get_input(size_t) const { std::abort(); }
const EValue& Method::get_output(size_t) const { std::abort(); }
Result<int64_t> MethodMeta::memory_planned_buffer_size(size_t) const { return Error::NotImplemented; }
size_t MethodMeta::num_memory_planned_buffers() const { return 0; }
size_t MethodMeta::num_outputs() const { return 0; }
Result<TensorInfo> MethodMeta::output_tensor_meta(size_t) const { return Error::NotImplemented; }
bool TensorInfo::is_memory_planned() const { return false; }
size_t TensorInfo::nbytes() const { return 0; }

}  // namespace executorch::runtime
