// Lane processes from outside: nobody is left behind, whoever is killed.

#include "tests/cli/program.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/sanitized.hpp"

#include <nlohmann/json.hpp>

#include <poll.h>
#include <sys/syscall.h>

#include <csignal>
#include <map>
#include <set>

using namespace viva;
using viva::tests::comes_true;
using tests::temporary_folder;
using tests::text_in;
namespace fs = std::filesystem;

namespace {

using words = std::vector<std::string>;

std::set<pid_t> children_of(pid_t parent) {
  std::set<pid_t> all;
  std::error_code gone;
  const auto tasks = "/proc/" + std::to_string(parent) + "/task";
  for (const auto& task : fs::directory_iterator(tasks, gone)) {
    std::ifstream in{task.path() / "children"};
    for (pid_t child = 0; in >> child;)
      all.insert(child);
  }
  return all;
}

/// True once this process, perhaps long gone, has ended.
bool ends(pid_t who) {
  const int fd = static_cast<int>(::syscall(SYS_pidfd_open, who, 0));
  if (fd < 0)
    return true;
  pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
  const bool ended = ::poll(&wait, 1, 60'000) == 1;
  ::close(fd);
  return ended;
}

/// Two lanes, a spare and the nursery; the address sanitizer's leak check does without nurseries.
constexpr std::size_t children = tests::sanitized ? 3 : 4;

std::string source_in(const temporary_folder& folder) {
  const auto source = (folder / "source").string();
  REQUIRE(tests::viva({"synth", source, "--size", "4MiB"}).code == 0);
  return source;
}

words quantize(const std::string& source, const std::string& output, words more) {
  words all{"quantize", source, "-m", "nf4", "-o", output, "--isolation", "process", "--lanes", "2",
            "--shard-bytes", "64KiB", "--json"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

std::map<std::string, std::string> files_in(const fs::path& folder) {
  std::map<std::string, std::string> all;
  for (const auto& file : fs::directory_iterator(folder))
    all[file.path().filename().string()] = text_in(file.path());
  return all;
}

} // namespace

TEST_CASE("lanes: `viva lane` is refused where no viva started it") {
  const auto done = tests::viva({"lane"});
  CHECK(done.code == 2);
  CHECK(done.out.empty());
  CHECK(done.err.find("starts it itself") != std::string::npos);
}

TEST_CASE("lanes: a killed program leaves no lane behind, hung or not, and its job resumes") {
  const temporary_folder folder;
  const auto source = source_in(folder);
  const auto output = (folder / "out").string();
  const auto parent = tests::start_viva(
    quantize(source, output, {"--allow-faults", "--fault", "hang-at=9"}), -1, -1);
  // One lane hangs, the other has done all else once the job is still.
  std::set<pid_t> lanes;
  CHECK(comes_true([&] { return (lanes = children_of(parent)).size() == children; }));
  CHECK(comes_true([&] {
    std::error_code none;
    return fs::exists(output + ".journal", none);
  }));
  ::kill(parent, SIGKILL);
  CHECK(tests::wait_for(parent) == 128 + SIGKILL);
  for (const auto lane : lanes)
    CHECK(ends(lane));
  const auto done = tests::viva(quantize(source, output, {}));
  INFO(done.err);
  REQUIRE(done.code == 0);
  const auto whole = (folder / "whole").string();
  words by_threads{"quantize", source, "-m", "nf4", "-o", whole, "--isolation", "thread"};
  REQUIRE(tests::viva(by_threads).code == 0);
  CHECK(files_in(output) == files_in(whole));
}

TEST_CASE("lanes: Ctrl-C of a whole terminal reaches the program alone, which stops its lanes") {
  const temporary_folder folder;
  const auto source = source_in(folder);
  const auto output = (folder / "out").string();
  const auto parent = tests::start_viva(
    quantize(source, output, {"--stall-seconds", "2", "--allow-faults", "--fault", "hang-at=9"}),
    -1, -1);
  std::set<pid_t> lanes;
  CHECK(comes_true([&] { return (lanes = children_of(parent)).size() == children; }));
  for (const auto lane : lanes)
    CHECK(comes_true([&] { return ::getpgid(lane) == lane; })); // not in the terminal's group
  ::kill(parent, SIGINT);
  CHECK(tests::wait_for(parent) == 130);
  for (const auto lane : lanes)
    CHECK(ends(lane));
  CHECK(tests::viva(quantize(source, output, {})).code == 0);
}

TEST_CASE("lanes: faults are refused unless they were allowed, and by lanes that are threads") {
  const temporary_folder folder;
  const auto source = source_in(folder);
  const auto output = (folder / "out").string();
  for (const char* fault : {"crash-at=1", "abort-at=1", "hang-at=1", "oom-at=1", "garbage-at=1",
                            "exit-at=1", "sticky-at=1"}) {
    CHECK(tests::viva(quantize(source, output, {"--fault", fault})).code == 2);
    words thread{"quantize", source, "-m", "nf4", "-o", output, "--isolation", "thread",
                 "--allow-faults", "--fault", fault};
    const auto refused = tests::viva(thread);
    CHECK(refused.code == 2);
    CHECK(refused.err.find("--isolation process") != std::string::npos);
  }
  CHECK_FALSE(fs::exists(output));
}

TEST_CASE("lanes: faults of a settings file are refused unless allowed, named if unknown, put in") {
  const temporary_folder folder;
  const auto source = source_in(folder), output = (folder / "out").string();
  const auto conf = (folder / "viva.toml").string();
  const auto job = [&](const std::string& faults, words more) {
    std::ofstream(conf) << "faults = \"" << faults << "\"\n";
    more.insert(more.end(), {"--conf", conf});
    return tests::viva(quantize(source, output, std::move(more)));
  };
  const auto says = [](const tests::finished& what, const std::string& words) {
    return what.code == 2 && what.out.find(words) != what.out.npos
           && what.out.find("viva.toml") != what.out.npos;
  };
  const auto refused = job("exit-at=1", {});
  CHECK(says(refused, "--allow-faults"));
  const auto unknown = job("exit-at=1,exit-at=x", {"--allow-faults"});
  CHECK(says(unknown, "'exit-at=x'"));
  CHECK_FALSE(fs::exists(output));
  CHECK(job("exit-at=1", {"--allow-faults"}).code == 0); // the lane is replaced
  CHECK(job("poison=1", {"--allow-faults", "--overwrite"}).code == 1);
}

TEST_CASE("lanes: faults that are set for a command that can take none are refused by it") {
  const temporary_folder folder;
  const auto source = source_in(folder), output = (folder / "out").string();
  ::setenv("VIVA_FAULTS", "crash-at=1", 1);
  for (const auto& command : {words{"dequantize", source, "-o", output},
                              words{"compare", source, source}, words{"inspect", source},
                              words{"attention", source, "-o", output}, words{"info"},
                              words{"status", output}, words{"tree", output},
                              words{"synth", output, "--size", "1MiB"},
                              words{"nodes", "--nodes", "127.0.0.1:1"},
                              words{"node", "--listen", "127.0.0.1:0"},
                              words{"certs", output}, words{"bench", "kernels"}}) {
    CAPTURE(command[0]);
    const auto refused = tests::viva(command);
    CHECK(refused.code == 2);
    CHECK(refused.err.find("faults = 'crash-at=1' (environment VIVA_FAULTS) break jobs on purpose")
          != refused.err.npos);
    CHECK(refused.err.find("only quantize and prune") != refused.err.npos);
  }
  const auto job = tests::viva({"prune", source, "-o", output});
  ::unsetenv("VIVA_FAULTS");
  CHECK(job.code == 2);
  CHECK(job.err.find("it needs --allow-faults") != job.err.npos);
  CHECK_FALSE(fs::exists(output));
}
