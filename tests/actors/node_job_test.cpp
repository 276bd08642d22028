// One job over nodes: the same bytes from one, two, three and five of them, whatever falls over.

#include "tests/actors/node_jobs.hpp"
#include "tests/support/sanitized.hpp"

using namespace viva;
using namespace viva::tests;

TEST_CASE("nodes: one, two, three and five of them give the bytes of one lane") {
  const ground on;
  std::vector<std::unique_ptr<node_process>> all;
  for (int i = 0; i < 5; ++i)
    all.push_back(std::make_unique<node_process>(on.folder.path()));
  for (const auto count : counts_of_nodes) {
    const auto nodes = first_of(all, count);
    CAPTURE(nodes);
    const auto report = report_of(viva::tests::viva(on.quantize("out", nodes)));
    CHECK(files_in(on.out("out")) == on.truth);
    for (const auto& lane : report["lanes"]) // none of this machine
      CHECK(lane["id"].get<std::string>().find('/') != std::string::npos);
    fs::remove_all(on.out("out"));
  }
  CHECK(all.front()->end(SIGTERM) == 0);
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

TEST_CASE("nodes: behind a job, killed or finished, nobody there holds a file of it") {
  const ground on;
  const temporary_folder scratch;
  for (const bool shared : {true, false}) {
    CAPTURE(shared);
    auto flags = may_hang;
    flags.insert(flags.end(), {"--scratch", scratch.path().string()});
    node_process a(on.folder.path(), flags);
    const auto holds_none = [&] {
      return std::ranges::none_of(files_held_below(a.pid()), [&](const std::string& name) {
        return name.starts_with(on.source) || name.starts_with(on.out("out"))
               || name.find("/job-") != std::string::npos;
      });
    };
    const auto as = [shared](words same) {
      if (!shared)
        std::erase(same, "--shared-fs");
      return same;
    };
    CHECK(holds_none());
    held_job job(on, a.address(), {}, as);
    REQUIRE(job.is_held());
    CHECK_FALSE(holds_none());
    ::kill(job.pid(), SIGKILL);
    job.wait();
    CHECK(comes_true(holds_none));
    report_of(viva::tests::viva(as(on.quantize("out", a.address()))));
    CHECK(comes_true(holds_none));
    fs::remove_all(on.out("out"));
  }
}
