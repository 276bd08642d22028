#include "bench/node_child.hpp"

#include "supervision/descriptor.hpp"

#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace viva::bench {

expected<std::unique_ptr<node_child>> node_child::start(const std::filesystem::path& root,
                                                        const std::vector<std::string>& more,
                                                        const std::string& listen) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return fail(errc::fault, "bench nodes: no pipe for a node");
  supervision::descriptor out{ends[0]}, in{ends[1]};
  std::vector<std::string> words{"viva", "node", "--listen", listen, "--roots", root.string(),
                                 "--scratch", root.string(), "--lanes", "1", "--json"};
  words.insert(words.end(), more.begin(), more.end());
  std::vector<char*> arguments; // made before the fork: other threads may hold the heap
  for (auto& each : words)
    arguments.push_back(each.data());
  arguments.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(in.get(), STDOUT_FILENO);
    ::execv("/proc/self/exe", arguments.data());
    ::_exit(127);
  }
  in = {};
  std::unique_ptr<node_child> made(new node_child(pid));
  std::string said;
  for (char c = 0; pid > 0 && c != '\n' && ::read(out.get(), &c, 1) == 1;)
    said += c;
  const auto told = nlohmann::json::parse(said, nullptr, false);
  if (!told.is_object() || !told.contains("listening"))
    return fail(errc::fault, "bench nodes: a node did not start");
  made->x_address = told["listening"];
  return made;
}

void node_child::signal(int number) const {
  if (x_pid > 0)
    ::kill(x_pid, number);
}

void node_child::end(int number) {
  signal(number);
  if (x_pid > 0)
    ::waitpid(std::exchange(x_pid, 0), nullptr, 0);
}

} // namespace viva::bench
