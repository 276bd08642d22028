// What lane processes do besides streams: tensors one by one, killed from outside; their frames.
// Resident tensors and attention: pipeline_resident_test.cpp, attention_test.cpp,
// attention_resident_test.cpp, for threads and processes alike.

#include "tests/actors/tensors.hpp"
#include "tests/support/sanitized.hpp"
#include "tests/support/temporary_folder.hpp"

#include "actors/pipeline/attend_step.hpp"
#include "actors/pipeline/tensor_frames.hpp"
#include "actors/workplace.hpp"
#include "kernels/scalar.hpp"
#include "tests/kernels/attention_problem.hpp"

#include <condition_variable>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <mutex>
#include <string>
#include <thread>

using namespace viva;
using namespace viva::testing;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t cols = 1024;

pipeline_options processes(std::uint32_t count) {
  return lanes_of(count, isolation::process);
}

tensor_view wide(std::span<const float> values) {
  return matrix_of(values, cols);
}

encoded whole(const char* words, std::span<const float> values) {
  return matrix_by_reference(words, values, cols);
}

/// Children of any thread of this process.
std::vector<pid_t> children() {
  std::vector<pid_t> all;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream list{task.path() / "children"};
    for (pid_t pid = 0; list >> pid;)
      all.push_back(pid);
  }
  return all;
}

/// Lanes, the spare and their nursery, as fast as work goes on and no faster, however slow the
/// machine: not before something came home since the last kill, and three times of four not before
/// all lanes are up again, so that a lane comes through its start between those that are killed in
/// it. Ends before there are as many deaths as end a pipeline.
void kill_at_random(const pipeline& pipe, const std::stop_token& stop) {
  constexpr std::uint64_t deaths_max = 100;
  std::mutex guard;
  std::condition_variable_any come;
  const auto wait = [&](std::chrono::microseconds time) {
    std::unique_lock lock{guard};
    come.wait_for(lock, stop, time, [] { return false; });
  };
  std::mt19937 random(4);
  const auto whole = pipe.metrics().queue->lanes_up;
  for (auto seen = pipe.metrics(); seen.restarts < deaths_max;) {
    const auto home = seen.queue->tickets;
    const auto up = random() % 4 == 0 ? 0 : whole;
    const auto all = children();
    if (stop.stop_requested() || all.empty())
      return;
    ::kill(all[random() % all.size()], SIGKILL);
    do {
      wait(1ms);
      seen = pipe.metrics();
    } while (!stop.stop_requested()
             && (seen.queue->tickets == home || seen.queue->lanes_up < up));
    wait(std::chrono::microseconds{random() % 25'000});
  }
}

} // namespace

TEST_CASE("process lanes: a tensor cut into shards has the reference's bytes, every method") {
  const auto values = normal_values(3000 * cols, 1);
  pipeline pipe{processes(2)};
  auto memory = pipe.share(values.size() * sizeof(float)).value();
  std::memcpy(memory.bytes().data(), values.data(), memory.bytes().size());
  const std::span shared(reinterpret_cast<const float*>(memory.bytes().data()), values.size());
  std::uint64_t walked = 0;
  tests::each_or_every_fourth(kernels::methods(), [&](const auto& method) {
    ++walked;
    const std::string words{method.name};
    INFO(words);
    const auto must = whole(words.c_str(), values);
    auto copied = pipe.quantize(wide(values), words).get();
    REQUIRE(copied.has_value());
    CHECK(same_bytes(copied->view(), must.view()));
    auto in_place = pipe.quantize(wide(shared), words).get();
    REQUIRE(in_place.has_value());
    CHECK(same_bytes(in_place->view(), must.view()));
  });
  CHECK(pipe.metrics().restarts == 0);
  CHECK(pipe.metrics().bytes >= 2 * walked * values.size() * sizeof(float));
}

TEST_CASE("process lanes: rows apart, 16 bits, pruning, and what is refused by its place") {
  auto values = normal_values(700 * cols, 2);
  pipeline pipe{processes(2)};
  auto apart = wide(values);
  apart.cols = cols - 64; // the rest of each row is not the tensor's
  apart.row_bytes = cols * sizeof(float);
  tensor_values together;
  for (std::uint64_t r = 0; r < apart.rows; ++r)
    together.insert(together.end(), values.begin() + static_cast<std::ptrdiff_t>(r * cols),
                    values.begin() + static_cast<std::ptrdiff_t>(r * cols + apart.cols));
  const kernels::matrix dense{reinterpret_cast<const std::byte*>(together.data()), dtype::f32,
                              apart.rows, apart.cols};
  CHECK(same_bytes(pipe.quantize(apart, nf4{}).get()->view(), by_reference("nf4", dense).view()));
  std::vector<std::byte> half(2 * together.size());
  for (std::size_t i = 0; i < together.size(); ++i)
    kernels::put_value(together[i], dtype::f16, half.data(), i);
  const kernels::matrix halves{half.data(), dtype::f16, apart.rows, apart.cols};
  CHECK(same_bytes(
    pipe.quantize({half.data(), apart.rows, apart.cols, 0, dtype::f16}, "sparse24").get()->view(),
    by_reference("sparse24", halves).view()));
  CHECK(same_bytes(pipe.prune(wide(values)).get()->view(), whole("sparse24", values).view()));
  values[650 * cols + 3] = std::numeric_limits<float>::infinity();
  for (const auto* words : {"int8", "int8-tensor"})
    CHECK(pipe.quantize(wide(values), words, {.name = "w"}).get().error().text.find(
            "w: NaN or infinity at [650, 3]")
          == 0);
}

TEST_CASE("process lanes: kill -9 at random moments costs time, and no byte is another") {
  const auto values = normal_values(4000 * cols, 3);
  const auto must = whole("nf4-dq", values);
  pipeline pipe{processes(2)};
  const auto id = pipe.put("w", wide(values)).get().value();
  const auto deaths = [&] { return pipe.metrics().restarts; };
  std::size_t right = 0, rounds = 0;
  {
    const std::jthread killer([&](const std::stop_token& stop) { kill_at_random(pipe, stop); });
    for (; rounds < 12 || (deaths() < 8 && rounds < 2000); ++rounds) {
      const auto whole_view = pipe.quantize(wide(values), "nf4-dq").get();
      const auto made = pipe.quantize(id, "nf4-dq").get();
      REQUIRE((whole_view.has_value() && made.has_value()));
      const auto fetched = pipe.fetch(*made).get();
      REQUIRE(fetched.has_value());
      right += same_bytes(whole_view->view(), must.view())
               && same_bytes(fetched->view(), must.view());
      pipe.drop(*made);
    }
  }
  CHECK(right == rounds);
  CHECK(deaths() >= 8);
}

TEST_CASE("process lanes: a lent file that is cut short ends three lanes, then its work alone") {
  const tests::temporary_folder folder;
  const auto path = folder / "values";
  const auto values = normal_values(2000 * cols, 8);
  std::ofstream(path, std::ios::binary)
    .write(reinterpret_cast<const char*>(values.data()),
           static_cast<std::streamsize>(values.size() * sizeof(float)));
  const auto mapped = actors::mapped_file::open(path).value();
  const std::span floats(reinterpret_cast<const float*>(mapped.bytes().data()), values.size());
  pipeline pipe{processes(2)};
  const auto lent = pipe.lend(path, mapped.bytes());
  REQUIRE(lent.has_value());
  const auto before = pipe.quantize(wide(floats), int8{}).get();
  REQUIRE(before.has_value());
  CHECK(same_bytes(before->view(), whole("int8", values).view()));
  std::filesystem::resize_file(path, 4096);
  auto answer = pipe.quantize(wide(floats.subspan(floats.size() / 2)), int8{}, {.name = "w"});
  REQUIRE(answer.wait_for(60s)); // a lane that starts afterwards is told of a region it cannot have
  const auto got = answer.get();
  REQUIRE_FALSE(got.has_value());
  INFO(got.error().text);
  CHECK(got.error().code == errc::job_failed);
  CHECK(got.error().text.find("w: ") == 0);
  CHECK(got.error().text.find("ended 3 lanes") != std::string::npos);
  const auto other = pipe.quantize(wide(values), int8{}).get();
  REQUIRE(other.has_value());
  CHECK(same_bytes(other->view(), whole("int8", values).view()));
}

TEST_CASE("process lanes: memory of answered work is given back") {
  const auto values = normal_values(500 * cols, 5);
  pipeline pipe{processes(1)};
  const auto open_files = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  };
  const auto once = [&] {
    const auto id = pipe.put("w", wide(values)).get().value();
    CHECK(pipe.quantize(wide(values), int8{}).get().has_value());
    pipe.drop(id);
  };
  once();
  const auto before = open_files();
  for (int i = 0; i < 30; ++i)
    once();
  const auto until = std::chrono::steady_clock::now() + 10s;
  while (open_files() > before + 3 && std::chrono::steady_clock::now() < until)
    std::this_thread::yield();
  CHECK(open_files() <= before + 3); // the last may be on its way
  CHECK(pipe.metrics().queue->budget_bytes == 0);
}

TEST_CASE("tensor frames: steps that are cut short or make no sense are refused") {
  actors::tensor_order order;
  order.steps.resize(2);
  order.steps[1].method = "nf4";
  order.steps[1].numbers.values = {1.5f, 2.5f};
  order.attends.resize(1);
  auto& step = order.attends[0];
  step.of.heads = 3;
  step.of.causal = true;
  step.v.method = "q8_0";
  step.v.rows.row = 7;
  const auto bytes = actors::encode(std::vector{order});
  const auto got = actors::decode_tensors(bytes);
  REQUIRE(got.has_value());
  CHECK(got->front().steps[1].numbers == order.steps[1].numbers);
  CHECK(got->front().attends[0].of.heads == 3);
  CHECK(got->front().attends[0].of.causal);
  CHECK(got->front().attends[0].v.method == "q8_0");
  CHECK(got->front().attends[0].v.rows.row == 7);
  for (std::size_t cut = 0; cut < bytes.size(); ++cut)
    CHECK_FALSE(actors::decode_tensors(std::string_view(bytes).substr(0, cut)).has_value());
  order.runs.resize(1); // both at once
  CHECK_FALSE(actors::decode_tensors(actors::encode(std::vector{order})).has_value());
  order.runs.clear();
  order.steps[0].type = static_cast<dtype>(9);
  CHECK_FALSE(actors::decode_tensors(actors::encode(std::vector{order})).has_value());

  actors::tensor_receipt receipt;
  receipt.seen.resize(1);
  receipt.seen[0].sum.add(0.75);
  receipt.seen[0].max = 2;
  const auto back = actors::decode_encoded(actors::encode(std::vector{receipt}));
  REQUIRE(back.has_value());
  CHECK(back->front().seen[0].sum == receipt.seen[0].sum);
  CHECK(back->front().seen[0].max == 2);
  receipt.problems = {{4, errc::not_finite, 7}};
  CHECK_FALSE(actors::problem_of(receipt, 4).has_value()); // no step 4 among 4
  CHECK(actors::problem_of(receipt, 5)->position == 7);
}

TEST_CASE("attend steps: what reaches out of its region is refused, not read") {
  std::vector<std::byte> memory(1 << 16);
  actors::attend_step step;
  step.of = {.heads = 1, .kv_heads = 1, .queries = 4, .keys = 8, .head_size = 32};
  const auto row = 32 * sizeof(float);
  for (auto* side : {&step.q, &step.k, &step.v}) {
    side->region = 1;
    side->bytes = {0, 0, row};
  }
  step.to = 1;
  step.out = 1 << 15;
  step.lse = (1 << 15) + 4 * row;
  const auto at = [&](std::uint32_t id, std::uint64_t offset, std::uint64_t bytes) -> std::byte* {
    return id == 1 && offset <= memory.size() && bytes <= memory.size() - offset
             ? memory.data() + offset
             : nullptr;
  };
  const actors::step_memory known{at, at};
  const auto fine = actors::run(step, known);
  REQUIRE(fine.has_value());
  CHECK(static_cast<bool>(*fine));
  const auto refused = [&](auto change) {
    auto other = step;
    change(other);
    return !actors::run(other, known).has_value();
  };
  CHECK(refused([](auto& s) { s.k.region = 2; }));
  CHECK(refused([](auto& s) { s.of.keys = 0; }));
  CHECK(refused([](auto& s) { s.of.heads = 0; }));
  CHECK(refused([](auto& s) { s.first = 1; }));
  CHECK(refused([](auto& s) { s.v.skipped = 505; })); // one row too far
  CHECK_FALSE(refused([](auto& s) { s.v.skipped = 504; }));
  CHECK(refused([](auto& s) { s.q.bytes.row = ~std::uint64_t{0} / 2; }));
  CHECK(refused([](auto& s) { s.out = (1 << 16) - row; }));
  CHECK(refused([](auto& s) { s.lse = (1 << 16) - 8; }));
  CHECK(refused([](auto& s) { s.lse += 2; }));
  CHECK(refused([](auto& s) { s.bias = {1, 1 << 16, {}}; }));
  CHECK(refused([](auto& s) { s.k.method = "nf5"; }));
  CHECK(refused([](auto& s) { // planes of fewer rows than there are keys
    s.k.method = "q8_0";
    s.k.rows_count = 7;
    s.k.cols = 32;
    s.k.rows = {0, 0, 1};
  }));
}

TEST_CASE("attend steps: rows that lie on one another are refused, or few bytes were many keys") {
  std::vector<std::byte> memory(1 << 14);
  const auto row = 32 * sizeof(float);
  actors::attend_step step;
  step.of = {.batch = 2, .heads = 2, .kv_heads = 1, .queries = 2, .keys = 8, .head_size = 32};
  for (auto* side : {&step.q, &step.k, &step.v}) {
    side->region = 1;
    side->bytes = {0, 0, row}; // sequences and heads have the same rows
  }
  step.bias = {1, 0, {}};
  step.to = 1;
  step.out = 1 << 13;
  step.lse = (1 << 13) + 8 * row;
  const auto at = [&](std::uint32_t id, std::uint64_t offset, std::uint64_t bytes) -> std::byte* {
    return id == 1 && offset <= memory.size() && bytes <= memory.size() - offset
             ? memory.data() + offset
             : nullptr;
  };
  const actors::step_memory known{at, at};
  const auto runs = [&](auto change) {
    auto other = step;
    change(other);
    return actors::run(other, known).has_value();
  };
  CHECK(runs([](auto&) {}));
  CHECK(runs([](auto& s) { // one row needs no step
    s.of.queries = 1;
    s.q.bytes.row = 0;
  }));
  const auto shorter = {std::uint64_t{0}, std::uint64_t{4}, row - 4};
  for (const std::uint64_t apart : shorter) {
    CHECK_FALSE(runs([&](auto& s) { s.q.bytes.row = apart; }));
    CHECK_FALSE(runs([&](auto& s) { s.k.bytes.row = apart; }));
    CHECK_FALSE(runs([&](auto& s) { s.v.bytes.row = apart; }));
  }
  const auto encode = [](auto& s) {
    for (auto* side : {&s.k, &s.v}) {
      side->method = "q8_0";
      side->rows_count = 8;
      side->cols = 32;
      side->rows = {0, 0, 1};
    }
  };
  CHECK(runs(encode));
  CHECK_FALSE(runs([&](auto& s) {
    encode(s);
    s.k.rows.row = 0;
  }));
}

TEST_CASE("attend steps: what a caller lays on one another goes to processes as copies") {
  kernels::testing::problem made({.queries = 3, .keys = 20, .head_size = 32}, dtype::f32, false, 4);
  auto in = made.in();
  in.k.bytes.row = 0; // all keys are the first one
  pipeline by_threads{{.lanes = 1}}, by_processes{processes(1)};
  auto memory = by_processes.share(made.k.size()).value(); // where a view is taken as it lies
  std::ranges::copy(made.k, memory.bytes().begin());
  in.k.data = memory.bytes().data() + 1;
  const auto here = by_threads.attention({made.of, in}).get(),
             there = by_processes.attention({made.of, in}).get();
  REQUIRE(here);
  REQUIRE(there);
  CHECK(here->out == there->out);
  CHECK(here->lse == there->lse);
}
