// What a node lends to pipelines: lanes that die alone, memory that has an end, and what callers
// are told where no node is left.

#include "tests/actors/node_cluster.hpp"

#include "actors/known_answer.hpp"
#include "actors/node/lent_lane.hpp"
#include "actors/node/region_store.hpp"
#include "tests/actors/tensors.hpp"
#include "tests/kernels/attention_problem.hpp"

#include <sys/resource.h>

using namespace viva;
using namespace viva::testing;
using namespace std::chrono_literals;
using actors::node::access;
using actors::node::range;
using actors::node::region_store;
using actors::node::region_use;
using viva::tests::cluster;
using viva::tests::comes_true;
using viva::tests::lanes_of;

namespace {

error refusal(pipeline& pipe) {
  const auto values = normal_values(1024, 1);
  const auto got = pipe.quantize(view_of(std::span<const float>(values)), int8{}).get();
  return got ? error{} : got.error();
}

void fill(region_store& store, std::uint32_t region, std::uint64_t bytes) {
  const auto file = store.touch(access::write, {region, 0, bytes});
  REQUIRE(file);
  const std::string much(bytes, 'x');
  REQUIRE(::pwrite((*file)->get(), much.data(), bytes, 0) == static_cast<ssize_t>(bytes));
}

} // namespace

TEST_CASE("lent lanes: one that is killed dies alone, its node lives and the work is run again") {
  const cluster on(1);
  pipeline pipe{on.over(1)};
  const auto tensors = many_tensors(600, 4096);
  std::size_t good = 0, killed = 0;
  for (auto&& [index, result] : pipe.stream(tensors, nf4{}, {.batch_tensors = 4})) {
    REQUIRE(result.has_value());
    good += same_bytes(*result, by_reference("nf4", tensors[index]).view()) ? 1 : 0;
    if (good % 100 == 0)
      for (const auto pid : lanes_of(on.nodes[0]->pid()))
        killed += ::kill(pid, SIGKILL) == 0 ? 1 : 0;
  }
  CHECK(good == tensors.size());
  CHECK(killed >= 2);
  CHECK(comes_true([&] { return pipe.metrics().restarts >= 2; }));
  CHECK_FALSE(on.nodes[0]->ended());
  CHECK(on.nodes[0]->err().find("SIGKILL") != std::string::npos);
}

TEST_CASE("lent lanes: one that stands still is killed by its node, before its borrower asks") {
  const cluster on(1, {"--stall-seconds", "2"});
  pipeline pipe{on.over(1, 1)};
  const auto values = normal_values(1 << 20, 2);
  const auto id = pipe.put("w", matrix_of(values, 1024)).get();
  REQUIRE(id);
  REQUIRE(pipe.quantize(*id, "int8").get()); // and it holds what it made
  const auto lanes = lanes_of(on.nodes[0]->pid());
  REQUIRE(lanes.size() == 1);
  ::kill(lanes[0], SIGSTOP);
  const auto began = std::chrono::steady_clock::now();
  const auto got = pipe.quantize(matrix_of(values, 1024), int8{}).get();
  CHECK(std::chrono::steady_clock::now() - began < 20s); // 30: it was the pipeline
  REQUIRE(got);
  CHECK(same_bytes(got->view(), matrix_by_reference("int8", values, 1024).view()));
  CHECK(on.nodes[0]->err().find("no progress for") != std::string::npos);
}

TEST_CASE("lent lanes: on threads, too, the bytes are the reference's") {
  const cluster on(1, {"--isolation", "thread"});
  pipeline pipe{on.over(1)};
  const auto values = normal_values(1 << 20, 2);
  for (const auto* words : {"int8", "nf4-dq"}) {
    const auto got = pipe.quantize(matrix_of(values, 1024), words).get();
    REQUIRE(got.has_value());
    CHECK(same_bytes(got->view(), matrix_by_reference(words, values, 1024).view()));
  }
  CHECK(lanes_of(on.nodes[0]->pid()).empty());
}

TEST_CASE("lent lanes: without any node for long enough, all work fails and says so") {
  cluster on(1);
  auto options = on.over(1);
  options.node_timeout_seconds = 1;
  pipeline pipe{options};
  CHECK(refusal(pipe).code == errc::ok);
  const auto began = std::chrono::steady_clock::now(); // killing it may take a while, too
  on.kill(0);
  const auto why = refusal(pipe);
  CHECK(why.code == errc::fault);
  CHECK(why.text.find("no node was to be had for 1 s") != std::string::npos);
  CHECK(why.text.find(on.nodes[0]->address()) != std::string::npos);
  CHECK(std::chrono::steady_clock::now() - began >= 1s);
  CHECK(refusal(pipe).text.find("no node was to be had") != std::string::npos); // at once
}

TEST_CASE("lent lanes: a node that comes back as another build ends the pipeline") {
  cluster on(1);
  auto options = on.over(1);
  options.node_timeout_seconds = 0;
  pipeline pipe{options};
  on.kill(0);
  on.revive(0, {"--allow-faults", "--claim-build", "viva 9.9"});
  const auto why = refusal(pipe);
  CHECK(why.code == errc::bad_option);
  CHECK(why.text.find("another build") != std::string::npos);
}

TEST_CASE("lent lanes: a node that is none, or another build, is an error of every call") {
  const auto values = normal_values(1024, 1);
  const auto told = [&](pipeline_options options) {
    pipeline pipe{std::move(options)};
    const auto got = pipe.quantize(view_of(values), int8{}).get();
    REQUIRE_FALSE(got.has_value());
    return got.error();
  };
  CHECK(told({.nodes = {"nonsense"}}).code == errc::bad_option);
  CHECK(told({.nodes = {"10.255.255.1:4242"}}).text.find("viva certs") != std::string::npos);
  const cluster liars(1, {"--allow-faults", "--claim-build", "viva 9.9"});
  CHECK(told(liars.over(1)).text.find("another build") != std::string::npos);
}

TEST_CASE("lent lanes: a node that computes attention in other steps lends nothing") {
  const auto words = actors::node::attention_words();
  const cluster liars(1, {"--allow-faults", "--claim-attention", words + "x"});
  pipeline pipe{liars.over(1)};
  const kernels::testing::problem made({.queries = 3, .keys = 9, .head_size = 32},
                                       kernels::dtype::f32, false, 1);
  const auto got = pipe.attention({made.of, made.in()}).get();
  REQUIRE_FALSE(got);
  CHECK(got.error().code == errc::bad_option);
  CHECK(got.error().text.find("in other steps") != std::string::npos);
  CHECK(got.error().text.find(words + "x") != std::string::npos); // and what the other has
  const cluster honest(1, {"--allow-faults", "--claim-attention", words});
  pipeline good{honest.over(1)};
  CHECK(good.attention({made.of, made.in()}).get());
  const auto lie = tests::viva({"node", "--listen", "127.0.0.1:0", "--claim-attention", "x"});
  CHECK(lie.code == 2);
  CHECK(lie.err.find("--allow-faults") != std::string::npos);
}

TEST_CASE("lent lanes: words of attention end with what comes of a fixed problem") {
  const auto words = actors::node::attention_words();
  CHECK(words == actors::node::attention_words());
  const auto at = words.find("answer ");
  REQUIRE(at != std::string::npos);
  const auto answer = words.substr(at + 7);
  CHECK(answer.size() == 16);
  CHECK(answer.find_first_not_of("0123456789abcdef") == std::string::npos);
  CHECK(answer == actors::attention_answer());
}

TEST_CASE("lent lanes: more lanes than a node lends are refused, and the most is told") {
  pipeline_options options{.lanes = 65};
  options.nodes = {"127.0.0.1:9"};
  pipeline pipe{options};
  const auto values = normal_values(64, 1);
  const auto got = pipe.quantize(view_of(std::span<const float>(values)), int8{}).get();
  REQUIRE_FALSE(got);
  CHECK(got.error().code == errc::bad_option);
  CHECK(got.error().text.find("64 lanes at most, not 65") != std::string::npos);
}

TEST_CASE("lent lanes: more than a node's memory fails the work, and the node lives") {
  const auto kind = GENERATE(as<std::string>{}, "process", "thread");
  INFO(kind);
  const cluster on(1, {"--max-memory", "64MiB", "--isolation", kind});
  pipeline pipe{on.over(1, 1)};
  const tensor_values large(20 << 20, 0.5f); // 80 MiB
  const auto small = normal_values(1 << 20, 2);
  const auto got = pipe.quantize(view_of(large), int8{}, {.name = "w"}).get(); // one shard
  REQUIRE_FALSE(got.has_value());
  CHECK(got.error().code == errc::job_failed);
  CHECK(got.error().text.find("--max-memory") != std::string::npos);
  CHECK_FALSE(on.nodes[0]->ended());
  const auto fine = pipe.quantize(matrix_of(small, 1024), int8{}).get();
  REQUIRE(fine.has_value());
  CHECK(same_bytes(fine->view(), matrix_by_reference("int8", small, 1024).view()));
}

TEST_CASE("lent lanes: a region that nobody brought cannot be read, and is not made") {
  region_store store(1 << 20, std::make_shared<region_use>());
  const range some{.file = 3, .offset = 0, .bytes = 8};
  const auto read = store.touch(access::read, some);
  REQUIRE_FALSE(read);
  CHECK(read.error().code == errc::malformed);
  CHECK(read.error().text.find("region 3") != std::string::npos);
  CHECK(store.touch(access::write, some));
  CHECK(store.touch(access::read, some));
}

TEST_CASE("lent lanes: who fills a node's memory is refused, and who had some before is not") {
  const auto used = std::make_shared<region_use>();
  region_store small(1 << 20, used);
  fill(small, 1, 64 << 10);
  REQUIRE(small.weigh());
  {
    region_store large(1 << 20, used);
    fill(large, 1, 2 << 20);
    const auto over = large.weigh();
    REQUIRE_FALSE(over);
    CHECK(over.error().code == errc::over_budget);
    CHECK(used->bytes >= (2u << 20) + (64u << 10));
    CHECK(small.weigh());
    CHECK(small.open(2, 4096));
    fill(small, 1, 64 << 10); // what it has already
    CHECK(small.weigh());
    fill(small, 3, 4096);
    CHECK_FALSE(small.weigh());
    small.forget(3);
    CHECK_FALSE(large.touch(access::write, {1, 2 << 20, 4096}));
  }
  CHECK(used->bytes == 64u << 10);
  CHECK(used->regions == 2);
}

TEST_CASE("lent lanes: regions end where half of a node's descriptors are taken") {
  rlimit was{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &was) == 0);
  auto few = was;
  few.rlim_cur = 256;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  const auto used = std::make_shared<region_use>();
  region_store store(1 << 20, used);
  std::uint32_t made = 0;
  while (made < 256 && store.open(made, 1))
    ++made;
  CHECK(made == 128);
  const auto more = store.open(made, 1);
  CHECK(::setrlimit(RLIMIT_NOFILE, &was) == 0);
  REQUIRE_FALSE(more);
  CHECK(more.error().text.find("ulimit -n") != std::string::npos);
  store.forget(0);
  CHECK(store.open(made, 1));
  CHECK(used->regions == 128);
}
