#pragma once

// Nodes as a test starts them: `viva node` on loopback, a port that the system chooses.

#include "tests/cli/program.hpp"

#include "tests/support/catch.hpp"

#include <nlohmann/json.hpp>

#include <poll.h>

#include <csignal>
#include <memory>
#include <optional>

namespace viva::tests {

class node_process {
public:
  /// `roots` below which it works; `more` flags.
  explicit node_process(const std::filesystem::path& roots, std::vector<std::string> more = {},
                        std::string listen = "127.0.0.1:0") {
    std::vector<std::string> arguments{"node", "--listen", std::move(listen), "--roots",
                                       roots.string(), "--lanes", "2", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto said = x_folder / "said";
    const int out = ::open(said.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    const int err = ::open((x_folder / "err").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    x_pid = start_viva(std::move(arguments), out, err);
    ::close(out);
    ::close(err);
    REQUIRE(comes_true([&] { return text_in(said).ends_with("\n") || ended(); }));
    const auto words = nlohmann::json::parse(text_in(said), nullptr, false);
    if (words.is_object() && words.contains("listening"))
      x_address = words["listening"];
  }
  node_process(const node_process&) = delete;
  ~node_process() {
    if (!ended())
      end(SIGKILL);
  }

  /// Empty where it did not start.
  const std::string& address() const {
    return x_address;
  }
  pid_t pid() const {
    return x_pid;
  }
  std::string err() const {
    return text_in(x_folder / "err");
  }
  /// The exit code.
  int end(int signal) {
    ::kill(x_pid, signal);
    return wait();
  }
  int wait() {
    if (!x_code)
      x_code = wait_for(x_pid);
    return *x_code;
  }
  bool ended() {
    int status = 0;
    if (!x_code && ::waitpid(x_pid, &status, WNOHANG) == x_pid)
      x_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return x_code.has_value();
  }

private:
  temporary_folder x_folder;
  pid_t x_pid = 0;
  std::string x_address;
  std::optional<int> x_code;
};

} // namespace viva::tests
