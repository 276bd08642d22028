// One job over nodes: the same bytes from one, two and three of them, whatever falls over.

#include "actors/node/certificates.hpp"
#include "tests/actors/node_processes.hpp"

#include <algorithm>
#include <map>

using namespace viva;
using namespace viva::tests;
namespace fs = std::filesystem;

namespace {

using words = std::vector<std::string>;

std::map<std::string, std::string> files_in(const fs::path& folder) {
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

nlohmann::json report_of(const finished& run) {
  INFO(run.err << run.out);
  REQUIRE(run.code == 0);
  return nlohmann::json::parse(run.out);
}

std::size_t durable(const std::string& output) {
  const auto told = viva::tests::viva({"status", output, "--json"});
  const auto said = nlohmann::json::parse(told.out, nullptr, false);
  return said.is_object() && said.contains("shards_durable")
           ? said["shards_durable"].get<std::size_t>()
           : 0;
}

/// A job in the background whose first run of one shard hangs, so that it cannot be over before
/// the test has done its worst; then its lane is killed for standing still.
class held_job {
public:
  held_job(const ground& on, const std::string& nodes, words more = {})
    : x_output(on.out("out")) {
    words faults{"--allow-faults", "--fault", "hang-at=20"};
    faults.insert(faults.end(), more.begin(), more.end());
    const auto file = [&](const char* name) {
      return ::open((x_folder / name).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    };
    const int out = file("out"), err = file("err");
    x_pid = start_viva(on.quantize("out", nodes, faults), out, err);
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

const words may_hang{"--allow-faults", "--stall-seconds", "3"};

} // namespace

TEST_CASE("nodes: one, two and three of them give the bytes of one lane") {
  const ground on;
  node_process a(on.folder.path()), b(on.folder.path()), c(on.folder.path());
  std::string nodes;
  for (const auto* each : {&a, &b, &c}) {
    nodes += (nodes.empty() ? "" : ",") + each->address();
    CAPTURE(nodes);
    const auto report = report_of(viva::tests::viva(on.quantize("out", nodes)));
    CHECK(files_in(on.out("out")) == on.truth);
    for (const auto& lane : report["lanes"]) // none of this machine
      CHECK(lane["id"].get<std::string>().find('/') != std::string::npos);
    fs::remove_all(on.out("out"));
  }
  CHECK(a.end(SIGTERM) == 0);
}

TEST_CASE("nodes: searches, surveys, statistics of errors and other jobs go over them, too") {
  for (const char* method : {"int8", "nvfp4", "sparse24-dense"}) {
    CAPTURE(method);
    const ground on(method, "4MiB");
    node_process a(on.folder.path()), b(on.folder.path());
    const auto nodes = a.address() + "," + b.address();
    const auto report = report_of(viva::tests::viva(on.quantize("out", nodes, {}, method)));
    CHECK(files_in(on.out("out")) == on.truth);
    const auto errors
      = report_of(viva::tests::viva({"compare", on.source, on.out("out"), "--nodes", nodes,
                                     "--shared-fs", "--json"}));
    CHECK(errors["tensors"].size() == report["tensors"].size());
    for (const char* where : {"here", "there"}) {
      words back{"dequantize", on.out("out"), "-o", on.out(where), "--json"};
      if (where == std::string("there"))
        back.insert(back.end(), {"--nodes", nodes, "--shared-fs"});
      CHECK(viva::tests::viva(back).code == 0);
    }
    CHECK(files_in(on.out("here")) == files_in(on.out("there")));
  }
}

TEST_CASE("nodes: one that is killed in the middle costs its tickets, and comes back") {
  const ground on;
  node_process a(on.folder.path(), may_hang);
  auto b = std::make_unique<node_process>(on.folder.path(), may_hang);
  held_job job(on, a.address() + "," + b->address());
  REQUIRE(job.is_held());
  const auto address = b->address();
  CHECK(b->end(SIGKILL) == 128 + SIGKILL);
  CHECK(comes_true([&] { return job.err().find(address + ": lost") != std::string::npos; }));
  b = std::make_unique<node_process>(on.folder.path(), may_hang, address);
  CHECK(b->address() == address);
  report_of(job.wait());
  CHECK(files_in(on.out("out")) == on.truth);
}

TEST_CASE("nodes: a job whose only node dies waits, and goes on when it is back") {
  const ground on;
  auto a = std::make_unique<node_process>(on.folder.path(), may_hang);
  held_job job(on, a->address());
  REQUIRE(job.is_held());
  const auto address = a->address();
  a->end(SIGKILL);
  CHECK(comes_true([&] { return job.err().find(": lost") != std::string::npos; }));
  a = std::make_unique<node_process>(on.folder.path(), may_hang, address);
  const auto report = report_of(job.wait());
  CHECK(report["totals"]["retries"].get<int>() >= 1); // what hung
  CHECK(files_in(on.out("out")) == on.truth);
}

TEST_CASE("nodes: a killed coordinator leaves nodes that take the same command again") {
  const ground on;
  node_process a(on.folder.path(), may_hang), b(on.folder.path(), may_hang);
  const auto nodes = a.address() + "," + b.address();
  held_job job(on, nodes);
  REQUIRE(job.is_held());
  ::kill(job.pid(), SIGKILL);
  CHECK(job.wait().code == 128 + SIGKILL);
  const auto done_before = durable(on.out("out"));
  const auto report = report_of(viva::tests::viva(on.quantize("out", nodes)));
  CHECK(report["totals"]["shards_resumed"].get<std::size_t>() == done_before);
  CHECK(files_in(on.out("out")) == on.truth);
}

TEST_CASE("nodes: a lane that dies there costs its shard; a shard that kills them is quarantined") {
  const ground on;
  node_process a(on.folder.path(), may_hang);
  const auto crashed = report_of(viva::tests::viva(
    on.quantize("out", a.address(), {"--allow-faults", "--fault", "crash-at=7"})));
  CHECK(crashed["totals"]["retries"].get<int>() >= 1);
  CHECK(files_in(on.out("out")) == on.truth);
  const auto poisoned = viva::tests::viva(
    on.quantize("bad", a.address(), {"--allow-faults", "--fault", "poison=7"}));
  CHECK(poisoned.code == 1);
  CHECK(poisoned.out.find("1 of ") != std::string::npos);
  CHECK(poisoned.out.find("quarantine") != std::string::npos);
}

TEST_CASE("nodes: what may not work on a job is refused, with the reason") {
  const ground on;
  const temporary_folder elsewhere;
  const auto refused_by = [&](const node_process& node, const std::string& why) {
    const auto done = viva::tests::viva(on.quantize("out", node.address()));
    INFO(done.out);
    CHECK(done.code == 1);
    CHECK(done.out.find(why) != std::string::npos);
    CHECK(done.out.find(node.address()) != std::string::npos);
  };
  refused_by(node_process(on.folder.path(), {"--allow-faults", "--claim-build", "viva 9.9"}),
             "another build");
  refused_by(node_process(elsewhere.path()), "none of this node's roots");
  node_process good(on.folder.path()), other(on.folder.path(), {"--allow-faults", "--claim-build",
                                                                "viva 9.9"});
  report_of(viva::tests::viva(on.quantize("out", good.address() + "," + other.address())));
  CHECK(files_in(on.out("out")) == on.truth);
}

TEST_CASE("nodes: a link below a root that leads out of it is not followed") {
  const ground on;
  const auto root = on.folder / "root";
  fs::create_directory(root);
  fs::create_directory(root / "model");
  for (const auto& file : fs::directory_iterator(on.source))
    fs::create_symlink(file.path(), root / "model" / file.path().filename());
  const node_process inside(root);
  const auto order = [&](const std::string& source, const std::string& nodes) {
    return words{"quantize", source, "-m", "nf4", "-o", (root / "out").string(), "--nodes", nodes,
                 "--shared-fs", "--json"};
  };
  const auto read = viva::tests::viva(order((root / "model").string(), inside.address()));
  INFO(read.out);
  CHECK(read.code == 1);
  CHECK(read.out.find("none of this node's roots") != std::string::npos);
}

TEST_CASE("nodes: an empty list, and a node that stands in it twice, are refused") {
  const ground on;
  const auto empty = viva::tests::viva(on.quantize("out", ""));
  CHECK(empty.code == 2);
  CHECK(empty.out.find("names no node") != std::string::npos);
  const auto twice = viva::tests::viva(on.quantize("out", "127.0.0.1:9,127.0.0.1:9"));
  CHECK(twice.code == 2);
  CHECK(twice.out.find("stands twice") != std::string::npos);
  CHECK_FALSE(fs::exists(on.out("out.partial")));
}

TEST_CASE("nodes: --node-timeout ends a job that has none, and the same command resumes") {
  const ground on;
  auto a = std::make_unique<node_process>(on.folder.path(), may_hang);
  const auto address = a->address();
  held_job job(on, address, {"--node-timeout", "1"});
  REQUIRE(job.is_held());
  a->end(SIGKILL);
  const auto ended = job.wait();
  CHECK(ended.code == 1);
  CHECK(ended.out.find("no node was to be had for 1 s") != std::string::npos);
  a = std::make_unique<node_process>(on.folder.path(), words{}, address);
  const auto report = report_of(viva::tests::viva(on.quantize("out", address)));
  CHECK(report["totals"]["shards_resumed"].get<std::size_t>() >= 20);
  CHECK(files_in(on.out("out")) == on.truth);
}

TEST_CASE("nodes: told to leave, one ends what it has and loses nothing") {
  const ground on;
  // Whichever has what hangs: either the job goes on behind it, or it must let go of that.
  node_process a(on.folder.path(), {"--allow-faults", "--stall-seconds", "8"}),
    b(on.folder.path(), may_hang);
  held_job job(on, a.address() + "," + b.address());
  REQUIRE(job.is_held());
  const auto began = std::chrono::steady_clock::now();
  CHECK(b.end(SIGTERM) == 0);
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds{20}); // 30: it gave up
  CHECK(b.err().find("had not let this node go") == std::string::npos);
  report_of(job.wait());
  CHECK(files_in(on.out("out")) == on.truth);
}

TEST_CASE("nodes: addresses that leave the machine need certificates or --insecure") {
  const temporary_folder folder;
  const auto node = viva::tests::viva({"node", "--listen", "0.0.0.0:0"});
  CHECK(node.code == 2);
  CHECK(node.err.find("--insecure") != std::string::npos);
  const ground on("nf4", "1MiB");
  const auto apart = viva::tests::viva(
    {"quantize", on.source, "-m", "nf4", "-o", on.out("out"), "--nodes", "127.0.0.1:4242"});
  CHECK(apart.code == 2);
  CHECK(apart.err.find("--shared-fs") != std::string::npos);
  const auto job = viva::tests::viva(on.quantize("out", "10.255.255.1:4242"));
  CHECK(job.code == 2);
  CHECK(job.out.find("--insecure") != std::string::npos);
}

TEST_CASE("nodes: a silent one is given up within seconds, and found again when it wakes") {
  const ground on;
  node_process a(on.folder.path(), may_hang), b(on.folder.path(), may_hang);
  held_job job(on, a.address() + "," + b.address());
  REQUIRE(job.is_held());
  ::kill(b.pid(), SIGSTOP);
  const auto began = std::chrono::steady_clock::now();
  CHECK(comes_true([&] { return job.err().find(b.address() + ": silent") != std::string::npos; }));
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds{9}); // 3.5 when it is quiet
  report_of(job.wait());
  CHECK(files_in(on.out("out")) == on.truth);
  ::kill(b.pid(), SIGCONT);
  fs::remove_all(on.out("out"));
  report_of(viva::tests::viva(on.quantize("out", b.address())));
  CHECK(files_in(on.out("out")) == on.truth);
}

TEST_CASE("nodes: a coordinator that was itself stopped gives nobody up") {
  const ground on;
  node_process a(on.folder.path(), {"--allow-faults", "--stall-seconds", "5"});
  held_job job(on, a.address());
  REQUIRE(job.is_held());
  ::kill(job.pid(), SIGSTOP);
  ::poll(nullptr, 0, 4'000); // longer than a node may be silent
  ::kill(job.pid(), SIGCONT);
  const auto done = job.wait();
  report_of(done);
  CHECK(done.err.find("silent") == std::string::npos);
  CHECK(files_in(on.out("out")) == on.truth);
}

TEST_CASE("nodes: `viva nodes` tells who is up, and who is another build or away") {
  const ground on("nf4", "1MiB");
  node_process a(on.folder.path());
  node_process b(on.folder.path(), {"--allow-faults", "--claim-build", "viva 9.9"});
  const auto gone = std::make_unique<node_process>(on.folder.path());
  gone->end(SIGTERM);
  report_of(viva::tests::viva(on.quantize("out", a.address())));
  const auto one = viva::tests::viva({"nodes", "--nodes", a.address(), "--json"});
  CHECK(one.code == 0);
  const auto fit = nlohmann::json::parse(one.out)["nodes"][0];
  CHECK(fit["up"] == true);
  CHECK(fit["lanes"] == 2);
  CHECK(fit["shards"].get<int>() > 0);
  CHECK(fit["pid"] == a.pid());
  const auto all = viva::tests::viva(
    {"nodes", "--nodes", a.address() + "," + b.address() + "," + gone->address(), "--json"});
  CHECK(all.code == 1);
  const auto seen = nlohmann::json::parse(all.out)["nodes"];
  REQUIRE(seen.size() == 3);
  CHECK(seen[1]["same_build"] == false);
  CHECK(seen[2]["up"] == false);
}

TEST_CASE("nodes: with certificates all is as without, and who has none of ours gets no answer") {
  const ground on;
  const auto ours = on.folder / "ours", foreign = on.folder / "foreign";
  for (const auto& each : {ours, foreign})
    REQUIRE(actors::node::make_certificates(each, {.names = {"node", "coordinator"}}));
  const words tls{"--tls", (ours / "node").string()};
  node_process a(on.folder.path(), tls), b(on.folder.path(), tls);
  const auto nodes = a.address() + "," + b.address();
  const words strangers[] = {{"--tls", (foreign / "coordinator").string()}, {}};
  for (const auto& each : strangers) {
    auto more = each;
    more.insert(more.end(), {"--node-timeout", "2"});
    const auto refused = viva::tests::viva(on.quantize("out", nodes, more));
    CHECK(refused.code == 1);
    CHECK(refused.out.find("no node was to be had") != std::string::npos);
  }
  const words member{"--tls", (ours / "coordinator").string()};
  report_of(viva::tests::viva(on.quantize("out", nodes, member)));
  CHECK(files_in(on.out("out")) == on.truth);
  const auto broken = viva::tests::viva(
    on.quantize("other", nodes, {"--tls", (on.folder / "nowhere").string()}));
  CHECK(broken.code != 0);
  CHECK(broken.out.find("ca.pem") != std::string::npos);
}

TEST_CASE("nodes: all but one of them die at one moment") {
  const ground on;
  node_process a(on.folder.path(), may_hang), b(on.folder.path(), may_hang),
    c(on.folder.path(), may_hang);
  held_job job(on, a.address() + "," + b.address() + "," + c.address());
  REQUIRE(job.is_held());
  ::kill(b.pid(), SIGKILL);
  ::kill(c.pid(), SIGKILL);
  report_of(job.wait());
  CHECK(files_in(on.out("out")) == on.truth);
}
