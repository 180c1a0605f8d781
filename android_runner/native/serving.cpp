#include "serving.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <vector>

namespace netadapt {
namespace {

constexpr std::size_t kMaxRequest = 1 << 20;  // bytes of a run's folder and arguments
constexpr int kOutputs = 2;                   // standard output and standard error

struct Request {
  std::vector<std::string> words;  // the first says what is wanted
  int outputs[kOutputs] = {-1, -1};
};

// False at the end of the socket, or when it brings what is no request.
bool receive(Request& request) {
  std::vector<char> bytes(kMaxRequest);
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof request.outputs)] = {};
  iovec into{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &into;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t size = 0;
  do {
    size = recvmsg(STDIN_FILENO, &message, MSG_CMSG_CLOEXEC);
  } while (size < 0 && errno == EINTR);
  if (size <= 0 || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) return false;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS &&
      header->cmsg_len == CMSG_LEN(sizeof request.outputs)) {
    std::memcpy(request.outputs, CMSG_DATA(header), sizeof request.outputs);
  }
  const char* const end = bytes.data() + size;
  for (const char* word = bytes.data(); word < end; word += request.words.back().size() + 1) {
    request.words.emplace_back(word, strnlen(word, static_cast<std::size_t>(end - word)));
  }
  return true;
}

// In the process of the run: its folder and its streams, then as a runner of its own.
[[noreturn]] void become(const Request& request, int (*run)(int, char**)) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // else nobody would end it who could
  const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  dup2(nothing, STDIN_FILENO);
  dup2(request.outputs[0], STDOUT_FILENO);
  dup2(request.outputs[1], STDERR_FILENO);
  std::vector<std::string> words(request.words.begin() + 1, request.words.end());
  if (words.empty() || chdir(words.front().c_str()) != 0) std::_Exit(1);
  words.front() = "netadapt_runner";
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  // All has been written; the libraries' destructors would take 0.1 s to no use
  std::_Exit(run(static_cast<int>(argv.size()) - 1, argv.data()));
}

// How a run ended: its exit code, or a signal's number below 0. Its process is gone then.
int conclude(pid_t run) {
  int status = 0;
  while (waitpid(run, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

int serve(int (*run)(int argc, char** argv)) {
  std::set<pid_t> running;
  Request request;
  while (receive(request)) {
    const std::string& wanted = request.words.front();
    int answer = 0;
    if (wanted == "run" && request.outputs[1] >= 0) {
      const pid_t started = fork();
      if (started == 0) become(request, run);
      if (started > 0) running.insert(started);
      answer = started > 0 ? started : -errno;
    } else {
      const pid_t known = request.words.size() == 2 ? std::atoi(request.words.back().c_str()) : 0;
      if (running.erase(known) == 0) break;
      if (wanted == "kill") kill(known, SIGKILL);
      answer = conclude(known);
    }
    for (const int output : request.outputs) {
      if (output >= 0) close(output);
    }
    request = Request();
    if (send(STDIN_FILENO, &answer, sizeof answer, MSG_NOSIGNAL) != sizeof answer) break;
  }
  // Whoever asked is gone: nobody hears what still runs
  for (const pid_t left : running) {
    kill(left, SIGKILL);
    conclude(left);
  }
  return 0;
}

}  // namespace netadapt
