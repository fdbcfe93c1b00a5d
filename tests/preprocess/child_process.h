// Code that is run in a process of its own.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

namespace reelm::preprocess::testing {

/// What `fn` returns in a process of its own.
template <typename Fn>
int in_child(Fn&& fn) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(fn());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

}  // namespace reelm::preprocess::testing
