// Nodes that do not see the job's files: bytes are brought and fetched, and come out the same.

#include "actors/node/certificates.hpp"
#include "actors/node/scratch.hpp"
#include "tests/actors/node_far.hpp"
#include "tests/support/sanitized.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

using namespace viva;
using namespace viva::tests;

namespace {

/// What lies below a folder: bytes of disk, and the names of jobs.
struct found_in {
  std::uint64_t disk = 0;
  std::size_t jobs = 0;

  explicit found_in(const fs::path& folder) {
    std::error_code gone; // files come and go meanwhile
    for (fs::recursive_directory_iterator at(folder, gone), end; !gone && at != end;
         at.increment(gone)) {
      struct stat info {};
      if (::lstat(at->path().c_str(), &info) == 0 && S_ISREG(info.st_mode))
        disk += static_cast<std::uint64_t>(info.st_blocks) * 512;
      jobs += at->path().filename().string().starts_with("job-") ? 1 : 0;
    }
  }
};

/// Bytes of disk behind files of the scratch folder that a process holds open under no name.
std::uint64_t nameless_disk(pid_t pid, const fs::path& scratch) {
  std::uint64_t disk = 0;
  std::error_code gone;
  for (const auto& fd : fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd", gone)) {
    const auto name = fs::read_symlink(fd.path(), gone).string();
    struct stat info {};
    if (name.starts_with(scratch.string() + "/") && name.ends_with(" (deleted)")
        && ::stat(fd.path().c_str(), &info) == 0)
      disk += static_cast<std::uint64_t>(info.st_blocks) * 512;
  }
  return disk;
}

/// A session ends a moment after its job.
bool gets_empty(const fs::path& scratch) {
  return comes_true([&] { return found_in(scratch).jobs == 0; });
}

} // namespace

TEST_CASE("nodes without the files: one, two, three and five give the bytes of one lane") {
  const ground on;
  far_node nodes[5];
  for (const auto count : counts_of_nodes) {
    const auto list = first_of(nodes, count);
    CAPTURE(list);
    const auto report = report_of(viva::tests::viva(apart(on.quantize("out", list))));
    CHECK(files_in(on.out("out")) == on.truth);
    for (const auto& lane : report["lanes"])
      CHECK(lane["id"].get<std::string>().find('/') != std::string::npos);
    fs::remove_all(on.out("out"));
  }
  for (auto& each : nodes) {
    CHECK(gets_empty(each.scratch()));
    const auto code = each->end(SIGTERM);
    INFO(each->err());
    CHECK(code == 0);
    CHECK(fs::directory_iterator(each.scratch())->path().filename() == "lock"); // and nothing else
  }
}

TEST_CASE("nodes without the files: one that is killed costs its tickets, and what it kept goes") {
  const ground on;
  const temporary_folder kept;
  far_node a(may_hang);
  auto b = std::make_unique<far_node>(may_hang, "127.0.0.1:0", kept.path().string());
  held_job job(on, a->address() + "," + (*b)->address(), {}, apart);
  REQUIRE(job.is_held());
  REQUIRE(comes_true([&] { return found_in(kept.path()).jobs == 1; })); // b, too, has begun
  const auto address = (*b)->address();
  CHECK((*b)->end(SIGKILL) == 128 + SIGKILL);
  CHECK(found_in(kept.path()).jobs == 1); // nobody was there to remove it
  CHECK(comes_true([&] { return job.err().find(address + ": lost") != std::string::npos; }));
  b = std::make_unique<far_node>(may_hang, address, kept.path().string());
  CHECK(found_in(kept.path()).jobs <= 1); // the next node did; it may have the job again
  report_of(job.wait());
  CHECK(files_in(on.out("out")) == on.truth);
  CHECK(gets_empty(kept.path()));
}

TEST_CASE("nodes without the files: a killed coordinator leaves nothing there, and is resumed") {
  const ground on;
  far_node a(may_hang), b(may_hang);
  const auto nodes = a->address() + "," + b->address();
  held_job job(on, nodes, {}, apart);
  REQUIRE(job.is_held());
  ::kill(job.pid(), SIGKILL);
  CHECK(job.wait().code == 128 + SIGKILL);
  CHECK(gets_empty(a.scratch()));
  CHECK(gets_empty(b.scratch()));
  for (auto* each : {&a, &b})
    CHECK(comes_true([&] { return nameless_disk((*each)->pid(), each->scratch()) == 0; }));
  const auto done_before = durable(on.out("out"));
  const auto report = report_of(viva::tests::viva(apart(on.quantize("out", nodes))));
  CHECK(report["totals"]["shards_resumed"].get<std::size_t>() == done_before);
  CHECK(files_in(on.out("out")) == on.truth);
}

TEST_CASE("nodes without the files: what is late on one of them runs on another, too") {
  const ground on;
  const words patient{"--allow-faults", "--stall-seconds", "60"};
  far_node a(patient), b(patient);
  const auto began = std::chrono::steady_clock::now();
  const auto report = report_of(viva::tests::viva(
    apart(on.quantize("out", a->address() + "," + b->address(),
                      {"--allow-faults", "--fault", "hang-at=20"}))));
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds{45}); // 60 without a copy
  CHECK(report["totals"]["copies"].get<int>() >= 1);
  CHECK(files_in(on.out("out")) == on.truth);
}

TEST_CASE("nodes: nothing runs twice where two lanes may write one output") {
  const ground on;
  far_node far(may_hang), other_far(may_hang);
  node_process near(on.folder.path(), may_hang), other_near(on.folder.path(), may_hang);
  const words hang{"--allow-faults", "--fault", "hang-at=20"};
  auto beside = hang; // of what streamed nodes have
  beside.insert(beside.end(), {"--lanes", "1", "--stall-seconds", "3"});
  for (const auto& job :
       {on.quantize("out", near.address() + "," + other_near.address(), hang),
        apart(on.quantize("out", far->address() + "," + other_far->address(), beside))}) {
    const auto report = report_of(viva::tests::viva(job));
    CHECK(report["totals"]["retries"].get<int>() >= 1); // what hung for 3 s
    CHECK(report["totals"]["copies"] == 0);
    CHECK(files_in(on.out("out")) == on.truth);
    fs::remove_all(on.out("out"));
  }
}

TEST_CASE("nodes without the files: disk there and memory at both ends hold what is in flight") {
  const ground on("nf4", sanitized ? "16MiB" : "256MiB");
  far_node a;
  const auto began = memory_of(a->pid(), "RssAnon");
  const auto said = on.out("said");
  const int out = ::open(said.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const auto job = start_viva(apart(on.quantize("out", a->address())), out, out);
  ::close(out);
  std::uint64_t peak = 0, here = 0, there = began;
  siginfo_t ended{};
  while (::waitid(P_PID, static_cast<id_t>(job), &ended, WEXITED | WNOHANG | WNOWAIT) == 0
         && ended.si_pid == 0) {
    peak = std::max(peak, found_in(a.scratch()).disk);
    std::error_code gone; // until then it is a copy of this program
    if (fs::read_symlink("/proc/" + std::to_string(job) + "/exe", gone).filename() == "viva")
      here = std::max(here, memory_of(job, "RssAnon"));
    there = std::max(there, memory_of(a->pid(), "RssAnon"));
    ::poll(nullptr, 0, 2);
  }
  INFO(text_in(said));
  REQUIRE(wait_for(job) == 0);
  const bool same = files_in(on.out("out")) == on.truth;
  CHECK(same); // and no 64 MiB are printed
  CAPTURE(here, began, there);
  CHECK(here > 0);
  if (!sanitized) { // which keep what was freed
    CHECK(here < (64u << 20));
    CHECK(there < began + (64u << 20));
  }
  // Two lanes with two batches of up to 256 KiB each, what they write, the headers, and blocks of
  // 64 KiB at every end of a range.
  CHECK(peak > 0);
  CHECK(peak < (4u << 20));
}

TEST_CASE("nodes without the files: with certificates all is encrypted, bulk bytes, too") {
  const ground on;
  const auto ours = on.folder / "ours";
  REQUIRE(actors::node::make_certificates(ours, {.names = {"node", "coordinator"}}));
  far_node a({"--tls", (ours / "node").string()}), b({"--tls", (ours / "node").string()});
  const auto nodes = a->address() + "," + b->address();
  report_of(viva::tests::viva(
    apart(on.quantize("out", nodes, {"--tls", (ours / "coordinator").string()}))));
  CHECK(files_in(on.out("out")) == on.truth);
}

TEST_CASE("nodes without the files: a source that is cut short ends the job, with its name") {
  const ground on;
  far_node a(may_hang);
  held_job job(on, a->address(), {}, apart);
  REQUIRE(job.is_held(1));
  const auto file = fs::path(on.source) / "model.safetensors";
  fs::resize_file(file, fs::file_size(file) / 4);
  const auto done = job.wait();
  INFO(done.out << done.err);
  CHECK(done.code == 3);
  CHECK(done.out.find("model.safetensors") != std::string::npos);
}

TEST_CASE("nodes without the files: a full scratch disk is said, and other nodes take over") {
  const temporary_folder small;
  if (::mount("tmpfs", small.path().c_str(), "tmpfs", 0, "size=128k") != 0) {
    WARN("skipped: needs the right to mount a small disk");
    return;
  }
  const ground on;
  {
    far_node full({}, "127.0.0.1:0", small.path().string()), good;
    const auto alone = viva::tests::viva(apart(on.quantize("out", full->address())));
    INFO(alone.out);
    CHECK(alone.code == 1);
    CHECK(alone.out.find("No space left on device") != std::string::npos);
    CHECK(alone.out.find(full->address()) != std::string::npos);
    report_of(viva::tests::viva(
      apart(on.quantize("out", full->address() + "," + good->address()))));
    CHECK(files_in(on.out("out")) == on.truth);
  }
  ::umount(small.path().c_str());
}

TEST_CASE("nodes without the files: a scratch folder that is none is refused at the start") {
  const auto node = viva::tests::viva(
    {"node", "--listen", "127.0.0.1:0", "--scratch", "/proc/no/such/folder"});
  CHECK(node.code == 2);
  CHECK(node.err.find("--scratch") != std::string::npos);
}

TEST_CASE("nodes without the files: who begins in scratch for ever is named, not awaited") {
  using actors::node::scratch_root;
  const temporary_folder shared;
  REQUIRE(scratch_root::open(shared.path()));
  const auto name = shared.path() / "lock";
  const supervision::descriptor other{::open(name.c_str(), O_RDWR | O_CLOEXEC)};
  REQUIRE(::flock(other.get(), LOCK_EX | LOCK_NB) == 0);
  const auto refused = scratch_root::open(shared.path(), std::chrono::milliseconds{50});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::cannot_write);
  CHECK(refused.error().text.find(name.string() + ": process " + std::to_string(::getpid()) + " ")
        == 0);
  CHECK(refused.error().text.find("--scratch") != std::string::npos);
  std::ofstream(name) << "scribbled";
  CHECK(scratch_root::open(shared.path(), std::chrono::milliseconds{50}).error().text.find(
          name.string() + ": another process ")
        == 0);
  REQUIRE(::flock(other.get(), LOCK_UN) == 0);
  CHECK(scratch_root::open(shared.path(), std::chrono::milliseconds{50}));
}

TEST_CASE("nodes without the files: what others keep in the scratch folder stays there") {
  const temporary_folder shared;
  const auto put = [&](const std::string& name) {
    fs::create_directories(fs::path(shared.path() / name).parent_path());
    std::ofstream(shared.path() / name) << "x";
  };
  for (const auto* name : {"node-v20.11.0-linux-x64/bin", "node-/file", "node-0123456789abcdef-a/x",
                           "node-0123456789abcdef-0/lock", "node-0123456789abcdef-0/job-1/source"})
    put(name);
  fs::create_directory(shared.path() / "node-0123456789abcdef-1"); // killed before it had a lock
  far_node one({}, "127.0.0.1:0", shared.path().string());
  for (const auto* name :
       {"node-v20.11.0-linux-x64/bin", "node-/file", "node-0123456789abcdef-a/x"})
    CHECK(fs::exists(shared.path() / name));
  CHECK_FALSE(fs::exists(shared.path() / "node-0123456789abcdef-0")); // of one that is dead
  CHECK_FALSE(fs::exists(shared.path() / "node-0123456789abcdef-1"));
  CHECK_FALSE(fs::exists(shared.path() / "node-v20.11.0-linux-x64/lock"));
}

TEST_CASE("nodes without the files: files of a job that would lie outside its folder are refused") {
  using actors::node::manifest;
  const temporary_folder folder;
  fs::create_directory(folder / "scratch");
  const auto root = actors::node::scratch_root::open(folder / "scratch");
  REQUIRE(root);
  const auto outside = (folder / "outside").string();
  for (const std::string& name :
       {std::string("../../outside"), outside, std::string("a/../../../outside"), std::string("."),
        std::string(), std::string("a/"), std::string("a\0b", 3)}) {
    CAPTURE(name);
    const auto made = (*root)->make(manifest{{{name, 1, true}}, {}});
    REQUIRE_FALSE(made);
    CHECK(made.error().code == errc::malformed);
  }
  CHECK_FALSE((*root)->make(manifest{{{"a", ~0ull, true}}, {}}));
  CHECK_FALSE(fs::exists(outside));
  CHECK((*root)->make(manifest{{{"a/b", 1, true}}, {}}));
}
