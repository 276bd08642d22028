// Who comes into a node and who does not: builds, roots, addresses, certificates; how it leaves.

#include "actors/assignment.hpp"
#include "actors/node/certificates.hpp"
#include "tests/actors/node_jobs.hpp"
#include "tests/support/raw_peer.hpp"

using namespace viva;
using namespace viva::tests;

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

TEST_CASE("nodes: faults on purpose need the node's leave, whatever the coordinator allows") {
  const ground on("nf4", "1MiB");
  const node_process a(on.folder.path());
  for (const char* fault : {"hang-at=1", "sticky-at=1"}) {
    const auto done = viva::tests::viva(
      on.quantize("out", a.address(), {"--allow-faults", "--fault", fault}));
    INFO(done.out);
    CHECK(done.code == 1);
    CHECK(done.out.find("were not allowed to this node") != std::string::npos);
  }
}

TEST_CASE("nodes: whether a plan fits is asked before it is made", "[node]") {
  const temporary_folder folder;
  const auto source = folder / "source";
  REQUIRE(viva::tests::viva({"synth", source.string(), "--size", "1MiB"}).code == 0);
  quantize_spec spec;
  spec.source = source;
  spec.method = "of another build"; // planning would stumble over it
  actors::assignment what{spec, {}, 1};
  const auto planned = actors::plan_again(what);
  REQUIRE_FALSE(planned);
  CHECK(planned.error().code != errc::over_budget);
  job_limits small;
  small.memory_bytes_max = 4096;
  actors::resize(what, 1, small);
  const auto refused = actors::plan_again(what);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::over_budget);
}

TEST_CASE("nodes: --max-memory of a node is its own: what does not fit there is refused by it") {
  const temporary_folder folder;
  const auto source = (folder / "source.safetensors").string();
  { // a row, which stays whole, of 2 Mi values
    std::string head = R"({"up_proj.weight":{"dtype":"BF16","shape":[2,2097152],)"
                       R"("data_offsets":[0,8388608]}})";
    head.resize((head.size() + 7) / 8 * 8, ' ');
    const std::uint64_t bytes = head.size();
    std::ofstream(source, std::ios::binary)
      .write(reinterpret_cast<const char*>(&bytes), sizeof bytes)
      .write(head.data(), static_cast<std::streamsize>(bytes));
    fs::resize_file(source, sizeof bytes + bytes + 8388608);
  }
  const auto out = (folder / "out").string();
  const node_process small(folder.path(), {"--max-memory", "64MiB"}), large(folder.path());
  for (const bool shared : {true, false}) {
    CAPTURE(shared);
    const auto over = [&](const std::string& nodes) {
      words command{"quantize", source, "-m", "nf4", "-o", out, "--nodes", nodes, "--json"};
      if (shared)
        command.push_back("--shared-fs");
      return viva::tests::viva(command);
    };
    const auto refused = over(small.address());
    INFO(refused.out);
    CHECK(refused.code == 1);
    CHECK(refused.out.find(small.address() + ": ") != std::string::npos);
    CHECK(refused.out.find("more than --max-memory") != std::string::npos);
    const auto report = report_of(over(small.address() + "," + large.address()));
    for (const auto& lane : report["lanes"])
      CHECK(lane["id"].get<std::string>().starts_with(large.address() + "/"));
    fs::remove_all(out);
  }
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

TEST_CASE("nodes: one that is about to leave is waited for, as one that is away") {
  const ground on;
  node_process a(on.folder.path(), {"--allow-faults"});
  held_job first(on, a.address());
  REQUIRE(first.is_held());
  ::kill(a.pid(), SIGTERM); // it waits 30 s for what hangs there
  ::sleep(1);
  const auto second = viva::tests::viva(on.quantize("other", a.address(), {"--node-timeout", "2"}));
  CHECK(second.code == 1);
  CHECK(second.out.find("no node was to be had for 2 s") != std::string::npos);
  CHECK(second.out.find("about to leave") != std::string::npos);
  CHECK_FALSE(a.ended());
  const auto began = std::chrono::steady_clock::now();
  CHECK(a.end(SIGTERM) == 130); // the second time: at once
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds{5});
  ::kill(first.pid(), SIGKILL);
  first.wait();
}

TEST_CASE("nodes: addresses that leave the machine need certificates or --insecure") {
  const temporary_folder folder;
  const auto node = viva::tests::viva({"node", "--listen", "0.0.0.0:0"});
  CHECK(node.code == 2);
  CHECK(node.err.find("--insecure") != std::string::npos);
  const ground on("nf4", "1MiB");
  const auto job = viva::tests::viva(on.quantize("out", "10.255.255.1:4242"));
  CHECK(job.code == 2);
  CHECK(job.out.find("--insecure") != std::string::npos);
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

TEST_CASE("nodes: `viva nodes` tells of jobs under way, and of lanes that began again") {
  const ground on;
  node_process a(on.folder.path(), may_hang);
  held_job job(on, a.address());
  REQUIRE(job.is_held());
  const auto before = look_at(a.address());
  CHECK(before["jobs"] == 1);
  CHECK(before["strangers"] == 0);
  CHECK(before["garbage"] == 0);
  report_of(job.wait());
  const auto after = look_at(a.address());
  CHECK(after["restarts"].get<int>() >= 1); // of the lane that hung
  CHECK(after["shards"].get<int>() > before["shards"].get<int>());
  CHECK(comes_true([&] { return look_at(a.address())["jobs"] == 0; }));
}

TEST_CASE("nodes: noise on any port is refused, counted, and takes no memory of a node") {
  const ground on;
  const auto ours = on.folder / "ours";
  REQUIRE(actors::node::make_certificates(ours, {.names = {"node", "coordinator"}}));
  node_process a(on.folder.path(), {"--tls", (ours / "node").string()});
  const words member{"--tls", (ours / "coordinator").string()};
  const auto port = actors::node::parse_address(a.address())->port;
  const auto before = memory_of(a.pid(), "VmRSS");
  for (const std::uint16_t above : {0, 1, 2})
    for (std::uint32_t seed = 0; seed < 4; ++seed) {
      raw_peer peer(static_cast<std::uint16_t>(port + above));
      peer.say("not TLS " + noise(500, seed));
      CHECK(peer.is_closed());
    }
  // A head of CAF's: a handshake of a client whose payload is 4 GiB less 1.
  std::string huge(32, '\0');
  huge[0] = 1;
  huge.replace(4, 4, "\xFF\xFF\xFF\xFF");
  raw_peer liar(port);
  liar.say(huge + noise(1 << 20, 9));
  CHECK(liar.is_closed());
  // Those of the two ports that are ours; CAF counts none. A count moves behind the close.
  CHECK(comes_true([&] {
    const auto seen = look_at(a.address(), member);
    return seen["strangers"].get<int>() + seen["garbage"].get<int>() == 8;
  }));
  report_of(viva::tests::viva(on.quantize("out", a.address(), member)));
  CHECK(files_in(on.out("out")) == on.truth);
  CHECK(memory_of(a.pid(), "VmRSS") < before + (64u << 20));
}
