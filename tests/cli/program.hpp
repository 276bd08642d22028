#pragma once

// The program itself, run as a shell would run it.

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/sanitized.hpp"
#include "tests/support/temporary_folder.hpp"

namespace viva::tests {

struct finished {
  int code = 0; ///< As a shell has it: 128 + the signal where one ended it.
  std::string out, err;
};

inline std::string text_in(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Looks again every 10 ms, for as long as only a defect takes; by the clock, for a look may be a
/// program that takes seconds.
template <class Claim>
bool comes_true(Claim claim) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{sized(90, 300)};
  do {
    if (claim())
      return true;
    ::poll(nullptr, 0, 10);
  } while (std::chrono::steady_clock::now() < until);
  return claim();
}

/// Starts VIVA_PROGRAM. A descriptor below 0 is closed for it.
inline pid_t start_viva(std::vector<std::string> arguments, int out, int err) {
  std::string program = VIVA_PROGRAM;
  std::vector<char*> argv{program.data()};
  for (auto& each : arguments)
    argv.push_back(each.data());
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0)
    throw std::runtime_error("cannot fork");
  if (child == 0) {
    out < 0 ? ::close(STDOUT_FILENO) : ::dup2(out, STDOUT_FILENO);
    err < 0 ? ::close(STDERR_FILENO) : ::dup2(err, STDERR_FILENO);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  return child;
}

inline int wait_for(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// Runs it to its end. `out` is a file to print into; "" closes standard output.
inline finished viva_into(const std::string& out, std::vector<std::string> arguments) {
  const temporary_folder folder;
  const int descriptor =
      out.empty() ? -1 : ::open(out.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const int errors = ::open((folder / "err").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  finished result;
  result.code = wait_for(start_viva(std::move(arguments), descriptor, errors));
  if (descriptor >= 0)
    ::close(descriptor);
  ::close(errors);
  result.err = text_in(folder / "err");
  return result;
}

inline finished viva(std::vector<std::string> arguments) {
  const temporary_folder folder;
  auto result = viva_into((folder / "out").string(), std::move(arguments));
  result.out = text_in(folder / "out");
  return result;
}

} // namespace viva::tests
