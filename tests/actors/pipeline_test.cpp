#include "tests/actors/tensors.hpp"

#include "actors/pipeline/exposition.hpp"
#include "kernels/convert.hpp"
#include "tests/support/temporary_folder.hpp"

#include <atomic>
#include <fstream>
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
  std::atomic<std::uint64_t> looks{0}; // each at another life
  std::uint64_t before = 0, older = 0;
  std::jthread onlooker([&] {
    auto seen = pipe.metrics();
    while (!done) {
      const auto lives = seen.queue->collector_lives;
      pipe.kill_collector();
      while (seen.queue->collector_lives == lives && !done) {
        seen = pipe.metrics();
        older += seen.shards < before;
        before = seen.shards;
      }
      looks += seen.queue->collector_lives > lives;
    }
  });
  std::uint64_t rounds = 0;
  for (; rounds < 30 || (looks < 3 && rounds < 3000); ++rounds)
    for (auto&& [index, result] : pipe.stream(tensors, nf4{}, {.batch_tensors = 4}))
      CHECK(result.has_value());
  done = true;
  onlooker.join();
  const auto seen = pipe.metrics();
  CHECK(seen.shards == rounds * tensors.size());
  CHECK(seen.bytes == rounds * tensors.size() * 256 * 4);
  CHECK(seen.queue->latency.count == rounds * tensors.size());
  REQUIRE(seen.methods.size() == 1);
  CHECK(seen.methods[0].values == rounds * tensors.size() * 256);
  CHECK(seen.tickets.count == seen.queue->tickets);
  CHECK(seen.restarts == 0); // of lanes: nobody else ended with it
  CHECK(older == 0);
  CHECK(looks >= 3);
  CHECK(seen.queue->collector_lives > looks);
}

TEST_CASE("pipeline: values a second are of the time since the look before") {
  using clock = std::chrono::steady_clock;
  using seconds = std::chrono::duration<double>;
  const auto tensors = many_tensors(2000, 512);
  const auto asked_for = clock::now();
  pipeline pipe{{.lanes = 2}};
  pipe.metrics();
  const auto looked = clock::now();
  while (clock::now() < looked + 150ms)
    for (auto&& [index, result] : pipe.stream(tensors, int8{}))
      CHECK(result.has_value());
  const auto looking = clock::now();
  const auto seen = pipe.metrics();
  const seconds shortest = looking - looked, longest = clock::now() - asked_for;
  REQUIRE(seen.methods.size() == 1);
  const auto& method = seen.methods[0];
  CHECK(method.values_per_s >= double(method.values) / longest.count());
  CHECK(method.values_per_s <= double(method.values) / shortest.count());
}
