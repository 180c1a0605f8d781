/* Preloaded into the phone's programs: lets them pin themselves to the phone's cores on a machine
 * that may have fewer. VIRTUAL_PHONE_CORES lists, for each core of the phone, one of this machine.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static cpu_set_t asked; /* what this process was last pinned to, in the phone's numbers */
static int is_asked;

static int cores(int host[CPU_SETSIZE]) {
  const char *text = getenv("VIRTUAL_PHONE_CORES");
  int count = 0;
  while (text && *text && count < CPU_SETSIZE) {
    char *end;
    host[count++] = (int)strtol(text, &end, 10);
    text = *end == ',' ? end + 1 : NULL;
  }
  return count;
}

int sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *mask) {
  int host[CPU_SETSIZE];
  const int count = cores(host);
  cpu_set_t real, valid;
  CPU_ZERO(&real);
  CPU_ZERO(&valid);
  for (int i = 0; i < count && (size_t)i < size * 8; i++) {
    if (CPU_ISSET_S(i, size, mask)) {
      CPU_SET(i, &valid);
      CPU_SET(host[i], &real);
    }
  }
  if (CPU_COUNT(&real) == 0) {
    errno = EINVAL;
    return -1;
  }
  const long done = syscall(SYS_sched_setaffinity, pid, sizeof real, &real);
  if (done == 0 && (pid == 0 || pid == getpid())) {
    asked = valid;
    is_asked = 1;
  }
  return done < 0 ? -1 : 0;
}

int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *mask) {
  int host[CPU_SETSIZE];
  const int count = cores(host);
  cpu_set_t real;
  CPU_ZERO(&real);
  if (syscall(SYS_sched_getaffinity, pid, sizeof real, &real) < 0) return -1;
  memset(mask, 0, size);
  for (int i = 0; i < count && (size_t)i < size * 8; i++) {
    if (is_asked && (pid == 0 || pid == getpid())) {
      if (CPU_ISSET(i, &asked)) CPU_SET_S(i, size, mask);
    } else if (CPU_ISSET(host[i], &real)) {
      CPU_SET_S(i, size, mask);
    }
  }
  return 0;
}
