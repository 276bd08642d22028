#include "tests/actors/held_lanes.hpp"
#include "tests/actors/tensors.hpp"
#include "tests/support/sanitized.hpp"

#include <limits>
#include <map>
#include <random>
#include <set>

using namespace viva;
using namespace viva::testing;
using namespace std::chrono_literals;

TEST_CASE("stream: every tensor comes back once, with the reference's bytes, for every method") {
  const auto tensors = many_tensors(300, 512);
  pipeline pipe{{.lanes = 2}};
  for (const auto* words : {"int8", "int8-tensor", "nf4", "nf4-dq", "q8_0", "nvfp4", "sparse24"}) {
    INFO(words);
    std::set<std::uint64_t> seen;
    for (auto&& [index, result] : pipe.stream(tensors, words, {.batch_tensors = 16})) {
      REQUIRE(result.has_value());
      CHECK(seen.insert(index).second);
      CHECK(same_bytes(*result, by_reference(words, tensors[index]).view()));
    }
    CHECK(seen.size() == tensors.size());
  }
  const auto seen = pipe.metrics();
  CHECK(seen.shards == 7 * tensors.size());
  CHECK(seen.bytes == 7 * tensors.size() * 512 * 4);
  CHECK(seen.queue->budget_bytes == 0);
}

TEST_CASE("stream: tensors that follow each other in memory, with others between them") {
  const auto block = normal_values(64 * 90, 1);
  const auto apart = normal_values(64, 2);
  std::vector<tensor_view> views;
  for (std::size_t i = 0; i < 90; ++i) {
    views.push_back(view_of(std::span(block).subspan(i * 64, i % 9 == 4 ? 32 : 64)));
    if (i % 7 == 3)
      views.push_back(view_of(std::span<const float>(apart)));
    if (i % 11 == 5)
      views.push_back({});
  }
  pipeline pipe{{.lanes = 2}};
  for (const auto* words : {"int8", "nf4", "nf4-dq"}) {
    std::size_t good = 0, bad = 0;
    for (auto&& [index, result] :
         pipe.stream(views, words, {.in_order = true, .batch_tensors = 20})) {
      const auto& view = views[index];
      const tensor_values values(reinterpret_cast<const float*>(view.data),
                                 reinterpret_cast<const float*>(view.data) + view.values());
      if (result)
        good += same_bytes(*result, by_reference(words, values).view());
      else
        bad += view.data == nullptr;
    }
    CHECK(good + bad == views.size());
    CHECK(bad == 8);
  }
}

TEST_CASE("stream: in order, whatever batches overtake each other") {
  std::vector<tensor_values> tensors;
  for (std::size_t i = 0; i < 500; ++i) // the first of each batch is a long one
    tensors.push_back(normal_values(i % 4 == 0 ? 64'000 : 64, 1));
  pipeline pipe{{.lanes = 3}};
  std::uint64_t expected_index = 0;
  for (auto&& [index, result] :
       pipe.stream(tensors, int8{}, {.in_order = true, .batch_tensors = 3})) {
    REQUIRE(result.has_value());
    CHECK(index == expected_index++);
    CHECK(result->cols() == tensors[index].size());
  }
  CHECK(expected_index == tensors.size());
}

TEST_CASE("stream: a batch with bad tensors fails only those") {
  auto tensors = many_tensors(64, 64);
  tensors[5][3] = std::numeric_limits<float>::quiet_NaN();
  tensors[6].resize(63); // nf4 takes any, q8_0 wants 32
  tensors[7].clear();
  tensors[63][63] = std::numeric_limits<float>::infinity();
  pipeline pipe{{.lanes = 2}};
  std::map<std::uint64_t, error> bad;
  std::size_t good = 0;
  for (auto&& [index, result] : pipe.stream(tensors, q8_0{})) {
    if (!result)
      bad.emplace(index, result.error());
    else if (same_bytes(*result, by_reference("q8_0", tensors[index]).view()))
      ++good;
  }
  CHECK(good == 60);
  REQUIRE(bad.size() == 4);
  CHECK(bad[5].code == errc::not_finite);
  CHECK(bad[5].text.find("tensor 5: NaN or infinity at [0, 3]") == 0);
  CHECK(bad[6].code == errc::bad_shape);
  CHECK(bad[7].code == errc::bad_shape);
  CHECK(bad[63].text.find("tensor 63: NaN or infinity at [0, 63]") == 0);
}

TEST_CASE("stream: lanes that die at random moments cost time and no tensor") {
  const auto tensors = many_tensors(tests::sized(20'000, 2'000), 256);
  pipeline pipe{{.lanes = 2}};
  std::vector<std::size_t> times(tensors.size());
  std::size_t wrong = 0;
  std::uint32_t lane = 0;
  std::mt19937 random(7);
  const auto lost = [&] { return pipe.metrics().queue->tickets_lost; };
  std::size_t round = 0; // more where lanes had done all before this thread read
  for (; round == 0 || (round < tests::sized(1, 10) && lost() == 0); ++round) {
    std::uint32_t read = 0, next = 0;
    for (auto&& [index, result] : pipe.stream(tensors, nf4{}, {.batch_tensors = 32})) {
      if (read++ == next) { // 200 kills at most: more than 300 within 10 s end the pipeline
        pipe.kill_lane(lane++);
        next += 100 + static_cast<std::uint32_t>(random() % 50);
      }
      ++times[index];
      wrong += !result || !same_bytes(*result, by_reference("nf4", tensors[index]).view());
    }
  }
  CHECK(wrong == 0);
  CHECK(std::ranges::all_of(times, [round](std::size_t n) { return n == round; }));
  CHECK(pipe.metrics().restarts > 0);
  CHECK(lost() > 0);
}

TEST_CASE("stream: views of no values fail alone, first of all as well") {
  const tensor_values values = normal_values(64, 1);
  const auto data = view_of(std::span<const float>(values)).data;
  const std::vector<tensor_view> views{{data, 0, 0, 0, dtype::f32},
                                       {data, 0, 0, 0, dtype::f32},
                                       {data, 1, 64, 0, dtype::f32},
                                       {data, 1, 0, 0, dtype::f32}};
  pipeline pipe{{.lanes = 1}};
  for (auto&& [index, result] : pipe.stream(views, int8{})) {
    CHECK(result.has_value() == (index == 2));
    if (!result)
      CHECK(result.error().code == errc::bad_shape);
  }
}

TEST_CASE("stream: what a lane did of a hand that is lost with it counts once, when done again") {
  const auto tensors = many_tensors(tests::sized(20'000, 2'000), 256);
  pipeline pipe{{.lanes = 2}};
  std::uint64_t rounds = 0, lost = 0;
  for (std::uint32_t lane = 0; rounds < 3 || (lost == 0 && rounds < 10); ++rounds) {
    std::size_t read = 0;
    for (auto&& [index, result] : pipe.stream(tensors, nf4{}, {.batch_tensors = 1})) {
      if (read++ % 1000 == 500)
        pipe.kill_lane(lane++); // with up to 32 tensors, each a unit, in its hand
      CHECK(result.has_value());
    }
    lost = pipe.metrics().queue->tickets_lost;
  }
  const auto seen = pipe.metrics();
  CHECK(lost > 0);
  CHECK(seen.shards == rounds * tensors.size());
  CHECK(seen.tickets.count == rounds * tensors.size());
  CHECK(seen.bytes == rounds * tensors.size() * 256 * sizeof(float));
}

TEST_CASE("stream: what is larger than the stream's memory fails alone and says what to do") {
  std::vector<tensor_values> tensors = many_tensors(3, 64);
  tensors[1] = normal_values(1 << 20, 1);
  pipeline pipe{{.lanes = 1, .budget_bytes = 1 << 20}};
  std::size_t good = 0;
  for (auto&& [index, result] : pipe.stream(tensors, int8{})) {
    good += result.has_value();
    if (!result) {
      CHECK(index == 1);
      CHECK(result.error().code == errc::over_budget);
      CHECK(result.error().text.find("budget_bytes") != std::string::npos);
    }
  }
  CHECK(good == 2);
}

TEST_CASE("stream: large tensors share the memory of a small budget") {
  const auto tensors = many_tensors(40, 60'000);
  pipeline pipe{{.lanes = 2, .budget_bytes = 512 << 10}}; // a quarter of it: two results
  std::size_t good = 0;
  for (auto&& [index, result] : pipe.stream(tensors, int8{}))
    good += result && same_bytes(*result, by_reference("int8", tensors[index]).view());
  CHECK(good == tensors.size());
}

TEST_CASE("stream: no more tensors are taken than the stream's memory has room for") {
  const auto tensor = normal_values(60'000, 1);
  std::uint64_t pulled = 0, read = 0, most = 0;
  pipeline pipe{{.lanes = 2, .budget_bytes = 512 << 10}}; // a quarter of it: two results
  auto source = [&](std::span<tensor_view> out) -> std::size_t {
    if (pulled == 200)
      return 0;
    out[0] = view_of(std::span<const float>(tensor));
    most = std::max(most, ++pulled - read);
    return 1;
  };
  for (auto&& [index, result] : pipe.stream_from(source, int8{}, {.batch_tensors = 1})) {
    CHECK(result.has_value());
    ++read;
  }
  CHECK(read == 200);
  CHECK(most <= 4); // two under way, one being read, one that waits for room
}

TEST_CASE("stream: results go where the caller wants them, as far as there is room") {
  const auto tensors = many_tensors(100, 64);
  const auto each = map_planes(kernels::parse_recipe("int8", dtype::f32).value(), 1, 64).total;
  std::vector<std::byte> memory(99 * each);
  pipeline pipe{{.lanes = 2}};
  std::vector<const std::byte*> at(100);
  for (auto&& [index, result] :
       pipe.stream(tensors, int8{}, {.batch_tensors = 7, .into = memory}))
    at[index] = result ? result->plane(0).data() : nullptr;
  for (std::size_t i = 0; i < 99; ++i) {
    CHECK(at[i] == memory.data() + i * each);
    CHECK(std::memcmp(at[i], by_reference("int8", tensors[i]).plane(0).data(), 64) == 0);
  }
  CHECK(at[99] == nullptr);
}

TEST_CASE("stream: an unknown method is every tensor's error") {
  const auto tensors = many_tensors(5, 64);
  pipeline pipe{{.lanes = 1}};
  std::size_t refused = 0;
  for (auto&& [index, result] : pipe.stream(tensors, "int9"))
    refused += !result && result.error().code == errc::unknown_method;
  CHECK(refused == 5);
}

TEST_CASE("stream: cancelled or left early, it lets go of the caller's bytes at once") {
  pipeline pipe{{.lanes = 2}};
  for (int round = 0; round < 20; ++round) {
    auto tensors = many_tensors(2000, 64);
    {
      auto stream = pipe.stream(tensors, int8{}, {.batch_tensors = 16});
      REQUIRE(stream.step());
    }
    tensors.clear(); // a lane that still reads is caught by the sanitizer
  }
  const auto tensors = many_tensors(2000, 64);
  auto stream = pipe.stream(tensors, int8{}, {.batch_tensors = 16, .window = 4});
  REQUIRE(stream.step());
  stream.cancel();
  std::size_t interrupted = 0, all = 1;
  for (; stream.step(); ++all) {
    const auto item = stream.item();
    interrupted += !item.result && item.result.error().code == errc::interrupted;
  }
  CHECK(all == tensors.size());
  CHECK(interrupted > all - 16 * 5);
}

TEST_CASE("stream: past its deadline what no lane has begun fails as timed out") {
  const auto tensors = many_tensors(100, 64);
  pipeline pipe{{.lanes = 1}};
  std::size_t late = 0;
  for (auto&& [index, result] :
       pipe.stream(tensors, int8{}, {.until = std::chrono::steady_clock::now()}))
    late += !result && result.error().code == errc::timed_out;
  CHECK(late == 100);
}

TEST_CASE("stream: it does not wait for the work of others, past its deadline or left early") {
  const auto tensors = many_tensors(64, 1 << 14);
  pipeline pipe{{.lanes = 1, .budget_bytes = 1 << 30}};
  {
    held_lanes others(pipe);
    const auto soon = std::chrono::steady_clock::now() + 2ms;
    std::size_t late = 0;
    for (auto&& [index, result] :
         pipe.stream(tensors, int8{}, {.how_urgent = urgency::low, .until = soon}))
      late += !result && result.error().code == errc::timed_out;
    CHECK(late == tensors.size());
    CHECK(others.held());
  }
  {
    // Some tenths of a second of awq.
    const std::vector<float> large(tests::sized(std::size_t{1} << 26, std::size_t{1} << 21), 0.5f);
    auto stream = std::make_unique<tensor_stream>(
      pipe.stream(tensors, int8{}, {.batch_tensors = 1, .how_urgent = urgency::low}));
    REQUIRE(stream->step());
    auto busy = pipe.quantize(view_of(std::span<const float>(large)), "awq",
                              {.how_urgent = urgency::high});
    stream.reset();
    CHECK_FALSE(busy.ready());
    CHECK(busy.get().has_value());
  }
}

TEST_CASE("stream: one that outlives its pipeline ends with errors instead of waiting") {
  const auto tensors = many_tensors(3000, 64);
  auto pipe = std::make_unique<pipeline>(pipeline_options{.lanes = 1});
  auto stream = pipe->stream(tensors, int8{}, {.batch_tensors = 8, .window = 2});
  REQUIRE(stream.step());
  pipe.reset();
  std::size_t all = 1, closed = 0;
  for (; stream.step(); ++all) {
    const auto item = stream.item();
    closed += !item.result && item.result.error().code == errc::interrupted;
  }
  CHECK(all == tensors.size());
  CHECK(closed > all - 8 * 4);
}
