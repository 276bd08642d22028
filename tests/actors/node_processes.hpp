#pragma once

// Nodes as a test starts them: `viva node` on loopback, a port that the system chooses.

#include "tests/cli/program.hpp"

#include "tests/support/catch.hpp"

#include <nlohmann/json.hpp>

#include <poll.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <memory>
#include <optional>
#include <set>

namespace viva::tests {

class node_process {
public:
  /// `roots` below which it works; `more` flags.
  explicit node_process(const std::filesystem::path& roots, std::vector<std::string> more = {},
                        std::string listen = "127.0.0.1:0") {
    std::vector<std::string> arguments{"node", "--listen", std::move(listen), "--roots",
                                       roots.string(), "--json"};
    if (std::find(more.begin(), more.end(), "--lanes") == more.end())
      arguments.insert(arguments.end(), {"--lanes", "2"});
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

/// What `viva nodes` says of one, which must answer.
inline nlohmann::json look_at(const std::string& address,
                              const std::vector<std::string>& more = {}) {
  std::vector<std::string> all{"nodes", "--nodes", address, "--json"};
  all.insert(all.end(), more.begin(), more.end());
  const auto told = viva(all);
  INFO(told.err << told.out);
  REQUIRE(told.code == 0);
  return nlohmann::json::parse(told.out)["nodes"][0];
}

/// A line of /proc/PID/status in bytes, for example "VmRSS"; 0 where the process is gone.
inline std::uint64_t memory_of(pid_t pid, const std::string& line) {
  std::ifstream in{"/proc/" + std::to_string(pid) + "/status"};
  for (std::string each; std::getline(in, each);)
    if (each.starts_with(line + ":"))
      return std::stoull(each.substr(line.size() + 1)) << 10;
  return 0;
}

/// `top` and all processes below it.
inline std::vector<pid_t> family_of(pid_t top) {
  std::multimap<pid_t, pid_t> children;
  for (const auto& each : std::filesystem::directory_iterator("/proc"))
    if (const auto pid = std::atoi(each.path().filename().c_str()); pid != 0) {
      const auto words = text_in(each.path() / "stat");
      if (const auto end = words.rfind(')'); end != std::string::npos) // of the name
        children.emplace(std::stoi(words.substr(end + 4)), pid);
    }
  std::vector<pid_t> all{top};
  for (std::size_t i = 0; i < all.size(); ++i)
    for (auto [at, last] = children.equal_range(all[i]); at != last; ++at)
      all.push_back(at->second);
  return all;
}

/// Names of the files that a process and all below it have open or mapped.
inline std::set<std::string> files_held_below(pid_t top) {
  std::set<std::string> names;
  for (const auto pid : family_of(top)) {
    const auto at = std::filesystem::path("/proc") / std::to_string(pid);
    std::error_code gone;
    for (std::filesystem::directory_iterator fd(at / "fd", gone), end; !gone && fd != end;
         fd.increment(gone))
      names.insert(std::filesystem::read_symlink(fd->path(), gone).string());
    std::ifstream maps{at / "maps"};
    for (std::string line; std::getline(maps, line);)
      if (const auto name = line.find('/'); name != std::string::npos)
        names.insert(line.substr(name));
  }
  return names;
}

/// Processes below `node` that have a pipeline's regions mapped.
inline std::vector<pid_t> lanes_of(pid_t node) {
  auto all = family_of(node);
  std::erase_if(all, [node](pid_t pid) {
    return pid == node
           || text_in("/proc/" + std::to_string(pid) + "/maps").find("memfd:viva-region")
                == std::string::npos;
  });
  return all;
}

} // namespace viva::tests
