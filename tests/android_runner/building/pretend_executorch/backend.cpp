// Registers itself while the program starts, as the real one does: lost without whole archives.
#include <executorch/runtime/backend/interface.h>

using namespace executorch::runtime;

namespace {
class Pretended final : public BackendInterface {
 public:
  bool is_available() const override { return true; }
  Result<DelegateHandle*> init(
      BackendInitContext&, FreeableBuffer*, ArrayRef<CompileSpec>) const override {
    return Error::NotImplemented;
  }
  Error execute(BackendExecutionContext&, DelegateHandle*, Span<EValue*>) const override {
    return Error::NotImplemented;
  }
};
Pretended backend;
const Error registered = register_backend({"XnnpackBackend", &backend});
}  // namespace
