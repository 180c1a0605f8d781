/* Stands in for pthreadpool's own header where an ExecuTorch package leaves it out: just what
 * executorch/extension/threadpool/threadpool.h needs to be parsed. Searched after all others. */
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pthreadpool* pthreadpool_t;
void pthreadpool_destroy(pthreadpool_t threadpool);

#ifdef __cplusplus
}
#endif
