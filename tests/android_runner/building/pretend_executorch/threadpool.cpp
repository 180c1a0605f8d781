#include <executorch/extension/threadpool/threadpool.h>

namespace executorch::extension::threadpool {
ThreadPool::ThreadPool(size_t threads) : threadpool_(nullptr, pthreadpool_destroy), thread_count_(threads) {}
bool ThreadPool::_unsafe_reset_threadpool(uint32_t threads) {
  thread_count_ = threads;
  return true;
}
ThreadPool* get_threadpool() {
  static ThreadPool pool(1);
  return &pool;
}
}  // namespace executorch::extension::threadpool
