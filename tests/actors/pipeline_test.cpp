#include "tests/actors/tensors.hpp"

#include "actors/pipeline/exposition.hpp"
#include "kernels/convert.hpp"
#include "tests/support/temporary_folder.hpp"

#include <atomic>
#include <coroutine>
#include <exception>
#include <fstream>
#include <future>
#include <limits>
#include <numeric>
#include <sstream>
#include <thread>

using namespace viva;
using namespace viva::testing;
using namespace std::chrono_literals;

namespace {

tensor_view shaped(const tensor_values& values, std::uint64_t rows) {
  auto view = view_of(std::span<const float>(values));
  view.rows = rows;
  view.cols = values.size() / rows;
  return view;
}

kernels::matrix matrix_of(const tensor_view& view) {
  return {view.data, view.type, view.rows, view.cols};
}

/// A coroutine that nobody waits for; it tells by what it was given.
struct errand {
  struct promise_type {
    errand get_return_object() {
      return {};
    }
    std::suspend_never initial_suspend() noexcept {
      return {};
    }
    std::suspend_never final_suspend() noexcept {
      return {};
    }
    void return_void() {
    }
    void unhandled_exception() {
      std::terminate();
    }
  };
};

errand produce(pipeline& pipe, const tensor_values& values, std::atomic<int>& good,
               std::atomic<int>& left, std::promise<void>& all) {
  submit_options options;
  options.when_full = on_full::suspend;
  for (int i = 0; i < 20; ++i) {
    // In two steps: GCC 12 destroys aggregates within a co_await expression twice.
    auto coming = pipe.quantize(view_of(std::span<const float>(values)), int8{}, options);
    auto got = co_await coming;
    good += got.has_value() ? 1 : 0;
  }
  if (--left == 0)
    all.set_value();
}

errand wait_for_one(pipeline& pipe, tensor_view view, submit_options options,
                    std::promise<errc>& told) {
  auto coming = pipe.quantize(view, int8{}, std::move(options));
  auto got = co_await coming;
  told.set_value(got ? errc::ok : got.error().code);
}

/// Work that keeps lanes busy for some milliseconds.
const tensor_values& large_values() {
  static const auto values = normal_values(8 << 20, 3);
  return values;
}

} // namespace

TEST_CASE("pipeline: a tensor cut into shards has the bytes of one encoded whole") {
  const auto values = normal_values(1 << 21, 1);
  pipeline pipe{{.lanes = 2}};
  for (const auto rows : {1u, 3u, 1024u})
    for (const auto* words : {"int8", "int8-tensor", "nf4", "nf4-dq", "nvfp4", "sparse24"}) {
      INFO(words << ", " << rows << " rows");
      const auto count = values.size() / rows / 64 * 64 * rows;
      const auto view = shaped({values.begin(), values.begin() + static_cast<long>(count)}, rows);
      const tensor_values kept(values.begin(), values.begin() + static_cast<long>(count));
      const auto alive = shaped(kept, rows);
      CHECK(view.cols == alive.cols);
      auto got = pipe.quantize(alive, words).get();
      REQUIRE(got.has_value());
      CHECK(same_bytes(got->view(), by_reference(words, matrix_of(alive)).view()));
    }
}

TEST_CASE("pipeline: rows that are apart are encoded as if they were together") {
  const std::uint64_t rows = 700, cols = 96, apart = 130;
  const auto values = normal_values(rows * apart, 2);
  auto view = view_of(std::span<const float>(values));
  view.rows = rows;
  view.cols = cols;
  view.row_bytes = apart * sizeof(float);
  tensor_values together;
  for (std::uint64_t r = 0; r < rows; ++r)
    together.insert(together.end(), values.begin() + static_cast<long>(r * apart),
                    values.begin() + static_cast<long>(r * apart + cols));
  pipeline pipe{{.lanes = 2}};
  for (const auto* words : {"int8", "nf4", "nf4-dq"}) {
    auto got = pipe.quantize(view, words).get();
    REQUIRE(got.has_value());
    CHECK(same_bytes(got->view(), by_reference(words, matrix_of(shaped(together, rows))).view()));
  }
}

TEST_CASE("pipeline: 16-bit sources, decoded again") {
  const auto values = normal_values(64 * 128, 4);
  std::vector<std::byte> halves(values.size() * 2);
  kernels::store_f32(values.data(), dtype::bf16, values.size(), halves.data());
  const std::uint64_t shape[] = {4, 16, 128};
  pipeline pipe{{.lanes = 1}};
  const auto view = view_of(halves, shape, dtype::bf16);
  CHECK(view.rows == 64);
  auto got = pipe.quantize(view, int8{}).get();
  REQUIRE(got.has_value());
  tensor_values back(values.size());
  REQUIRE(got->decode(back));
  for (std::size_t i = 0; i < values.size(); ++i)
    CHECK(back[i] == Approx(values[i]).margin(0.02));
  CHECK(got->decode({back.data(), 5}).error().code == errc::bad_shape);
}

TEST_CASE("pipeline: prune keeps two of four, and refuses what prunes nothing") {
  const auto values = normal_values(4096, 5);
  pipeline pipe{{.lanes = 1}};
  auto kept = pipe.prune(view_of(std::span<const float>(values))).get();
  REQUIRE(kept.has_value());
  tensor_values back(values.size());
  REQUIRE(kept->decode(back));
  CHECK(std::ranges::count(back, 0.0f) == 2048);
  CHECK(pipe.prune(view_of(std::span<const float>(values)), nf4{}).get().error().code
        == errc::unsupported);
}

TEST_CASE("pipeline: errors name the tensor, the place and the remedy") {
  auto values = normal_values(4 << 20, 6);
  values[3 << 20] = std::numeric_limits<float>::quiet_NaN();
  values[(3 << 20) + 7] = std::numeric_limits<float>::infinity();
  pipeline pipe{{.lanes = 2}};
  const auto ask = [&](const tensor_view& view, const char* words) {
    return pipe.quantize(view, words, {.name = "layer.0.w"}).get().error();
  };
  const auto bad = ask(shaped(values, 4096), "int8");
  CHECK(bad.code == errc::not_finite);
  CHECK(bad.text.find("layer.0.w: NaN or infinity at [3072, 0]") == 0);
  CHECK(ask(shaped(values, 4096), "int8-tensor").text == bad.text); // out of the survey
  CHECK(ask(shaped(values, 1), "nf5").code == errc::unknown_method);
  CHECK(ask(view_of(std::span<const float>()), "nf4").code == errc::bad_shape);
  CHECK(ask(tensor_view{nullptr, 2, 64, 0, dtype::f32}, "nf4").code == errc::bad_shape);
  auto overlap = shaped(values, 4096);
  overlap.row_bytes = 8;
  CHECK(ask(overlap, "nf4").code == errc::bad_shape);
  const std::uint64_t more[] = {5000, 4096};
  CHECK(ask(view_of(std::as_bytes(std::span(values)), more, dtype::f32), "nf4").code
        == errc::bad_shape);
}

TEST_CASE("pipeline: lanes killed in the midst of shards, and the bytes are the same") {
  const auto view = shaped(large_values(), 4096);
  const auto whole = by_reference("nf4", matrix_of(view));
  pipeline pipe{{.lanes = 2}};
  std::uint64_t lost = 0;
  for (int round = 0; round < 20 && (round < 5 || lost == 0); ++round) {
    auto running = pipe.quantize(view, nf4{});
    pipe.kill_lane(static_cast<std::uint32_t>(round));
    pipe.kill_lane(static_cast<std::uint32_t>(round + 1));
    auto got = running.get();
    REQUIRE(got.has_value());
    CHECK(same_bytes(got->view(), whole.view()));
    lost = pipe.metrics().queue->tickets_lost;
  }
  CHECK(lost > 0);
}

TEST_CASE("pipeline: metrics for Prometheus, each death by its reason") {
  const tests::temporary_folder folder;
  const auto values = normal_values(1 << 20, 1);
  pipeline pipe{{.lanes = 2}};
  pipe.kill_lane(0);
  pipe.kill_lane(1);
  while (pipe.metrics().restarts < 2)
    CHECK(pipe.quantize(shaped(values, 1024), int8{}).get().has_value());
  std::vector<tensor_values> one{values};
  for (auto&& [index, result] : pipe.stream(one, int8{}))
    CHECK(result.has_value());
  const auto seen = pipe.metrics();
  CHECK(seen.deaths.at("exception") == seen.restarts);
  CHECK(seen.queue->latency.count == 1);
  const auto text = to_prometheus(seen);
  const auto holds = [&](const std::string& line) {
    INFO(line);
    CHECK(("\n" + text).find("\n" + line + "\n") != std::string::npos);
  };
  holds("# TYPE viva_lane_deaths_total counter");
  holds("viva_lane_deaths_total{reason=\"exception\"} " + std::to_string(seen.restarts));
  holds("viva_shards_total{lane=\"lane-0\"} " + std::to_string(seen.lanes[0].shards));
  holds("viva_tickets_lost_total " + std::to_string(seen.queue->tickets_lost));
  holds("viva_latency_seconds_count 1");
  holds("viva_lanes_up 2");
  CHECK(text.find("viva_method_values_total{method=\"int8\"} ") != std::string::npos);
  CHECK(text.ends_with("\n"));
  CHECK(write_prometheus(seen, folder / "viva.prom").has_value());
  std::ifstream in(folder / "viva.prom");
  std::stringstream read;
  read << in.rdbuf();
  CHECK(read.str() == text);
  CHECK(write_prometheus(seen, folder / "no" / "viva.prom").error().code == errc::cannot_write);
}

TEST_CASE("pipeline: a collector killed amid work loses nothing and counts nothing twice") {
  const auto tensors = many_tensors(400, 256);
  pipeline pipe{{.lanes = 2}};
  std::atomic<bool> done{false};
  std::uint64_t before = 0, older = 0, looks = 0;
  std::jthread onlooker([&] {
    for (; !done; ++looks) {
      pipe.kill_collector();
      const auto seen = pipe.metrics();
      older += seen.shards < before;
      before = seen.shards;
    }
  });
  for (int round = 0; round < 30; ++round)
    for (auto&& [index, result] : pipe.stream(tensors, nf4{}, {.batch_tensors = 4}))
      CHECK(result.has_value());
  done = true;
  onlooker.join();
  const auto seen = pipe.metrics();
  CHECK(seen.shards == 30 * tensors.size());
  CHECK(seen.bytes == 30 * tensors.size() * 256 * 4);
  CHECK(seen.queue->latency.count == 30 * tensors.size());
  REQUIRE(seen.methods.size() == 1);
  CHECK(seen.methods[0].values == 30 * tensors.size() * 256);
  CHECK(seen.tickets.count == seen.queue->tickets);
  CHECK(seen.restarts == 0); // of lanes: nobody else ended with it
  CHECK(older == 0);
  CHECK(looks > 1);
  CHECK(seen.queue->collector_lives > looks / 2); // a kill may meet one that is not up again
}

TEST_CASE("pipeline: values a second are of the time since the look before") {
  const auto tensors = many_tensors(2000, 512);
  pipeline pipe{{.lanes = 2}};
  const auto began = std::chrono::steady_clock::now();
  pipe.metrics();
  while (std::chrono::steady_clock::now() < began + 150ms)
    for (auto&& [index, result] : pipe.stream(tensors, int8{}))
      CHECK(result.has_value());
  const auto seen = pipe.metrics();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  REQUIRE(seen.methods.size() == 1);
  CHECK(seen.methods[0].values_per_s
        == Approx(double(seen.methods[0].values) / took.count()).epsilon(0.3));
}

TEST_CASE("pipeline: a budget that is full refuses, blocks until its deadline, or lets wait") {
  const auto values = normal_values(1 << 16, 7);
  const auto view = view_of(std::span<const float>(values));
  pipeline pipe{{.lanes = 1, .budget_bytes = 100'000}}; // room for one result of 65,536
  auto first = pipe.quantize(view, int8{});
  while (!first.ready())
    first.wait_for(1ms);
  CHECK(pipe.metrics().queue->budget_tickets == 1); // done and not taken: it counts
  CHECK(pipe.quantize(view, int8{}, {.when_full = on_full::refuse}).get().error().code
        == errc::over_budget);
  const auto soon = std::chrono::steady_clock::now() + 5ms;
  CHECK(pipe.quantize(view, int8{}, {.until = soon}).get().error().code == errc::timed_out);
  auto parked = pipe.quantize(view, int8{}, {.when_full = on_full::suspend});
  CHECK(pipe.metrics().queue->submits_waiting == 1);
  CHECK_FALSE(parked.ready());
  std::jthread other([&] {
    auto blocked = pipe.quantize(view, int8{});
    CHECK(blocked.get().has_value());
  });
  CHECK(first.get().has_value());
  CHECK(parked.get().has_value());
  other.join();
  CHECK(pipe.metrics().queue->budget_bytes == 0);
  const auto more = normal_values(1 << 17, 7);
  const auto never = pipe.quantize(view_of(std::span<const float>(more)), int8{}).get();
  CHECK(never.error().code == errc::over_budget);
}

TEST_CASE("pipeline: coroutines that produce are suspended while the budget is full") {
  const auto values = normal_values(4096, 1);
  std::atomic<int> good{0}, left{8};
  std::promise<void> all;
  pipeline pipe{{.lanes = 2, .budget_tickets = 2}};
  for (int i = 0; i < 8; ++i)
    produce(pipe, values, good, left, all);
  all.get_future().wait();
  CHECK(good == 160);
}

TEST_CASE("pipeline: a coroutine is told when the deadline of its work passed, parked or in line") {
  const auto values = normal_values(1 << 16, 7);
  pipeline pipe{{.lanes = 1, .budget_bytes = 100'000}}; // room for one result of 65,536
  const auto view = view_of(std::span<const float>(values));
  auto first = pipe.quantize(view, int8{});
  while (!first.ready())
    first.wait_for(1ms);
  std::promise<errc> told;
  const auto until = std::chrono::steady_clock::now() + 20ms;
  wait_for_one(pipe, view, {.until = until, .when_full = on_full::suspend}, told);
  auto answer = told.get_future();
  REQUIRE(answer.wait_for(10s) == std::future_status::ready); // the first is never taken
  CHECK(answer.get() == errc::timed_out);
  CHECK(std::chrono::steady_clock::now() >= until);
  CHECK(pipe.metrics().queue->submits_waiting == 0);
  CHECK(first.get().has_value());
  std::promise<errc> in_time;
  wait_for_one(pipe, view, {.until = std::chrono::steady_clock::now() + 10s}, in_time);
  CHECK(in_time.get_future().get() == errc::ok);
}

TEST_CASE("pipeline: a future cancels its work, and waits for it when it goes") {
  pipeline pipe{{.lanes = 1}};
  const auto view = shaped(large_values(), 1024);
  auto running = pipe.quantize(view, nf4{});
  auto waiting = pipe.quantize(view, nf4{});
  waiting.cancel();
  CHECK(waiting.get().error().code == errc::interrupted);
  CHECK(running.get().has_value());
  for (int round = 0; round < 10; ++round) {
    auto values = std::make_unique<tensor_values>(normal_values(1 << 18, 8));
    {
      auto left = pipe.quantize(shaped(*values, 16), nf4{});
    }
    values.reset(); // a lane that still reads is caught by the sanitizer
  }
  // The last unit of the last one may be on its way from the lane.
  const auto until = std::chrono::steady_clock::now() + 10s;
  while (pipe.metrics().queue->budget_tickets != 0 && std::chrono::steady_clock::now() < until)
    std::this_thread::yield();
  CHECK(pipe.metrics().queue->budget_tickets == 0);
}

TEST_CASE("pipeline: work past its deadline answers so, even while every lane is busy") {
  pipeline pipe{{.lanes = 1}};
  const auto view = shaped(large_values(), 1024);
  std::vector<future<expected<encoded>>> busy;
  for (int i = 0; i < 4; ++i)
    busy.push_back(pipe.quantize(view, nf4{}));
  auto late = pipe.quantize(view, nf4{}, {.until = std::chrono::steady_clock::now() + 1ms});
  CHECK(late.get().error().code == errc::timed_out);
  for (auto& each : busy)
    CHECK(each.get().has_value());
}

TEST_CASE("pipeline: what is urgent overtakes what waits") {
  pipeline pipe{{.lanes = 1}};
  const auto view = shaped(large_values(), 1024);
  auto first = pipe.quantize(view, nf4{});
  auto patient = pipe.quantize(view, nf4{}, {.how_urgent = urgency::low});
  auto urgent = pipe.quantize(view, nf4{}, {.how_urgent = urgency::high});
  CHECK(urgent.get().has_value());
  CHECK_FALSE(patient.ready());
  CHECK(patient.get().has_value());
  CHECK(first.get().has_value());
}

TEST_CASE("pipeline: one that goes answers all that was asked of it") {
  const auto view = shaped(large_values(), 1024);
  std::vector<future<expected<encoded>>> asked;
  {
    pipeline pipe{{.lanes = 2}};
    for (int i = 0; i < 8; ++i)
      asked.push_back(pipe.quantize(view, nf4{}));
  }
  std::size_t interrupted = 0;
  for (auto& each : asked) {
    const auto got = each.get();
    interrupted += !got && got.error().code == errc::interrupted;
  }
  CHECK(interrupted > 0);
}
