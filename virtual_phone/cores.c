/* Preloaded into the phone's programs: lets them pin themselves to the phone's cores on a machine
 * that may have fewer, and refuses those that sleep as Linux does.
 *
 * VIRTUAL_PHONE_CORES lists, for each core of the phone, one of this machine. The file that
 * VIRTUAL_PHONE_SLEEPS names counts how often each was switched off or on; an odd number is off.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static cpu_set_t asked; /* what this process was last pinned to, in the phone's numbers */
static int is_asked;
static int changes_then[CPU_SETSIZE]; /* of each core, when it was pinned */

static int numbers(const char *text, int *found) {
  int count = 0;
  while (text && *text && count < CPU_SETSIZE) {
    char *end;
    found[count++] = (int)strtol(text, &end, 10);
    text = *end == ',' ? end + 1 : NULL;
  }
  return count;
}

static int cores(int host[CPU_SETSIZE]) { return numbers(getenv("VIRTUAL_PHONE_CORES"), host); }

static void read_changes(int changes[CPU_SETSIZE]) {
  static char text[1 << 14];
  const char *path = getenv("VIRTUAL_PHONE_SLEEPS");
  memset(changes, 0, sizeof(int) * CPU_SETSIZE);
  const int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  const ssize_t length = read(file, text, sizeof text - 1);
  close(file);
  if (length > 0) {
    text[length] = 0;
    numbers(text, changes);
  }
}

int sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *mask) {
  int host[CPU_SETSIZE], changes[CPU_SETSIZE];
  const int count = cores(host);
  cpu_set_t real, valid;
  CPU_ZERO(&real);
  CPU_ZERO(&valid);
  read_changes(changes);
  for (int i = 0; i < count && (size_t)i < size * 8; i++) {
    if (CPU_ISSET_S(i, size, mask) && changes[i] % 2 == 0) {
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
    memcpy(changes_then, changes, sizeof changes_then);
  }
  return done < 0 ? -1 : 0;
}

int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *mask) {
  int host[CPU_SETSIZE], changes[CPU_SETSIZE];
  const int count = cores(host);
  const int own = is_asked && (pid == 0 || pid == getpid());
  cpu_set_t real;
  CPU_ZERO(&real);
  if (syscall(SYS_sched_getaffinity, pid, sizeof real, &real) < 0) return -1;
  read_changes(changes);
  int left = 0; /* of the cores that it was pinned to, those that were there all the time */
  for (int i = 0; i < count; i++) left |= CPU_ISSET(i, &asked) && changes[i] == changes_then[i];
  memset(mask, 0, size);
  for (int i = 0; i < count && (size_t)i < size * 8; i++) {
    if (changes[i] % 2) continue;
    /* A process whose last core is taken away may use all from then on */
    const int usable = !own ? CPU_ISSET(host[i], &real) : !left || CPU_ISSET(i, &asked);
    if (usable) CPU_SET_S(i, size, mask);
  }
  return 0;
}
