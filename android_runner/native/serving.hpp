// Runs forked from one process that has loaded the libraries: docs/protocol.md, "Many runs".
#pragma once

namespace netadapt {

// Takes requests from the socket that is standard input, until its other end is closed; `run` is a
// `main` of its own, in a process of its own. Returns the exit code.
int serve(int (*run)(int argc, char** argv));

}  // namespace netadapt
