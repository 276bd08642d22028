#pragma once

// A job over nodes as tests run it: a source, the bytes it must become, and a job that waits.

#include "actors/job_view.hpp"
#include "kernels/registry.hpp"
#include "tests/actors/node_processes.hpp"

#include <algorithm>
#include <functional>
#include <map>

namespace viva::tests {

namespace fs = std::filesystem;

using words = std::vector<std::string>;

inline std::map<std::string, std::string> files_in(const fs::path& folder) {
  std::map<std::string, std::string> all;
  for (const auto& file : fs::directory_iterator(folder))
    all[file.path().filename().string()] = text_in(file.path());
  return all;
}

/// A source, and what one lane that nobody disturbs makes of it.
struct ground {
  temporary_folder folder;
  std::string source = (folder / "source").string();
  std::map<std::string, std::string> truth;

  explicit ground(const std::string& method = "nf4", const std::string& size = "8MiB") {
    REQUIRE(viva::tests::viva({"synth", source, "--size", size}).code == 0);
    REQUIRE(viva::tests::viva({"quantize", source, "-m", method, "-o", out("truth"), "--lanes",
                               "1", "--isolation", "thread", "--shard-bytes", "64KiB"})
              .code
            == 0);
    truth = files_in(out("truth"));
  }
  std::string out(const std::string& name) const {
    return (folder / name).string();
  }
  words quantize(const std::string& name, const std::string& nodes, words more = {},
                 const std::string& method = "nf4") const {
    words all{"quantize", source, "-m", method, "-o", out(name), "--nodes", nodes, "--shared-fs",
              "--shard-bytes", "64KiB", "--json"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
};

/// Sizes of clusters that give the bytes of one lane.
inline constexpr std::size_t counts_of_nodes[] = {1, 2, 3, 5};

/// The first so many, as --nodes takes them.
template <class Nodes>
std::string first_of(const Nodes& all, std::size_t count) {
  std::string list;
  for (std::size_t i = 0; i < count; ++i)
    list += (list.empty() ? "" : ",") + all[i]->address();
  return list;
}

/// By any method, in the first layout that takes it, of what `viva synth` makes.
inline words quantize_by(const kernels::method& method, const std::string& source,
                         const std::string& output) {
  const std::string layouts{method.layouts};
  // As in jobs.hpp: what the synthetic model's columns allow.
  const std::string name = method.name == "awq" ? "awq:group=64:rtn" : std::string(method.name);
  return {"quantize", source, "-m", name, "--layout", layouts.substr(0, layouts.find(' ')), "-o",
          output, "--exclude", "down_proj", // whose columns are no whole blocks of some methods
          "--shard-bytes", "256KiB", "--json"};
}

inline nlohmann::json report_of(const finished& run) {
  INFO(run.err << run.out);
  REQUIRE(run.code == 0);
  return nlohmann::json::parse(run.out);
}

inline std::size_t durable(const std::string& output) {
  const auto status = status_of(output);
  return status ? status->shards_durable : 0;
}

/// A job in the background whose first run of one shard hangs, so that it cannot be over before
/// the test has done its worst; then its lane is killed for standing still.
class held_job {
public:
  /// `as` turns the command into another one.
  held_job(const ground& on, const std::string& nodes, words more = {},
           const std::function<words(words)>& as = [](words same) { return same; })
    : x_output(on.out("out")) {
    words faults{"--allow-faults", "--fault", "hang-at=20"};
    faults.insert(faults.end(), more.begin(), more.end());
    const auto file = [&](const char* name) {
      return ::open((x_folder / name).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    };
    const int out = file("out"), err = file("err");
    x_pid = start_viva(as(on.quantize("out", nodes, faults)), out, err);
    ::close(out);
    ::close(err);
  }
  /// True once everything is durable but what waits or hangs.
  bool is_held(std::size_t shards = 20) const {
    return comes_true([&] { return durable(x_output) >= shards; });
  }
  finished wait() {
    finished done;
    done.code = wait_for(x_pid);
    done.out = text_in(x_folder / "out");
    done.err = text_in(x_folder / "err");
    return done;
  }
  std::string err() const {
    return text_in(x_folder / "err");
  }
  pid_t pid() const {
    return x_pid;
  }

private:
  temporary_folder x_folder;
  std::string x_output;
  pid_t x_pid = 0;
};

inline const words may_hang{"--allow-faults", "--stall-seconds",
                            std::to_string(sized(3, 15))}; // a lane there takes seconds to start

} // namespace viva::tests
