#include "tests/actors/tensors.hpp"
#include "tests/support/in_child.hpp"
#include "tests/support/sanitized.hpp"

#include "actors/pipeline/tensor_frames.hpp"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <string>
#include <optional>
#include <sys/resource.h>
#include <thread>

using namespace viva;
using namespace viva::testing;
using namespace std::chrono_literals;

namespace {

pipeline_options processes(std::uint32_t lanes) {
  return {.lanes = lanes, .isolation = isolation::process, .lane_program = VIVA_PROGRAM};
}

/// While it lives this process gets no new descriptor.
class no_descriptors {
public:
  no_descriptors() {
    ::getrlimit(RLIMIT_NOFILE, &x_before);
    const rlimit none{0, x_before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  }
  ~no_descriptors() {
    ::setrlimit(RLIMIT_NOFILE, &x_before);
  }

private:
  rlimit x_before{};
};

std::vector<std::string> children() {
  std::vector<std::string> all;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream list{task.path() / "children"};
    for (std::string pid; list >> pid;)
      all.push_back(pid);
  }
  return all;
}

/// Regions of tensors that this process's children have mapped.
std::size_t regions_of_children() {
  std::size_t found = 0;
  for (const auto& pid : children()) {
    std::ifstream maps{"/proc/" + pid + "/maps"};
    for (std::string line; std::getline(maps, line);)
      found += line.find("memfd:viva-tensors") != std::string::npos ? 1 : 0;
  }
  return found;
}

/// Shared memory that lies in the maps of this process and its children, counted in each.
std::uint64_t shared_bytes_in_use() {
  auto sum = tests::status_bytes("self", "RssShmem");
  for (const auto& pid : children())
    sum += tests::status_bytes(pid, "RssShmem");
  return sum;
}

} // namespace

TEST_CASE("process lanes: tensors of the caller's memory, every method, as the reference has it") {
  const auto tensors = many_tensors(300, 512);
  pipeline pipe{processes(2)};
  for (const auto* words : {"int8", "int8-tensor", "nf4", "nf4-dq", "q8_0", "nvfp4", "sparse24"}) {
    INFO(words);
    std::vector<int> times(tensors.size());
    for (auto&& [index, result] : pipe.stream(tensors, words, {.batch_tensors = 16})) {
      REQUIRE(result.has_value());
      ++times[index];
      CHECK(same_bytes(*result, by_reference(words, tensors[index]).view()));
    }
    CHECK(std::ranges::all_of(times, [](int n) { return n == 1; }));
  }
  const auto seen = pipe.metrics();
  CHECK(seen.shards == 7 * tensors.size());
  CHECK(seen.bytes == 7 * tensors.size() * 512 * 4);
  CHECK(seen.restarts == 0);
  CHECK(seen.lanes[0].peak_rss_bytes + seen.lanes[1].peak_rss_bytes > 0);
}

TEST_CASE("process lanes: what lies in shared memory needs no room of the stream, a copy does") {
  const std::size_t values = 6 << 20; // 24 MiB; a stream has a quarter of the budget
  auto options = processes(2);
  options.budget_bytes = 64 << 20;
  pipeline pipe{options};
  const auto each = map_planes(kernels::parse_recipe("nf4", dtype::f32).value(), 1, values).total;
  auto source = pipe.share(values * sizeof(float)).value();
  auto results = pipe.share(2 * each).value();
  const auto outside = normal_values(values, 1);
  std::memcpy(source.bytes().data(), outside.data(), source.bytes().size());
  const auto* floats = reinterpret_cast<const float*>(source.bytes().data());
  const std::vector<tensor_view> views{view_of(std::span(floats, values)),
                                       view_of(std::span<const float>(outside))};
  std::map<std::size_t, errc> told;
  for (auto&& [index, result] : pipe.stream(views, nf4{}, {.into = results.bytes()})) {
    told[index] = result ? errc::ok : result.error().code;
    if (result)
      CHECK(same_bytes(*result, by_reference("nf4", outside).view()));
  }
  CHECK(told == std::map<std::size_t, errc>{{0, errc::ok}, {1, errc::over_budget}});
}

TEST_CASE("process lanes: sources and results in shared memory stay where they are") {
  const std::size_t count = 5000, values = 128;
  pipeline pipe{processes(2)};
  const auto each = map_planes(kernels::parse_recipe("nf4", dtype::f32).value(), 1, values).total;
  auto source = pipe.share(count * values * sizeof(float)).value();
  auto results = pipe.share(count * each).value();
  const auto numbers = normal_values(count * values, 1);
  std::memcpy(source.bytes().data(), numbers.data(), source.bytes().size());
  std::vector<tensor_view> views;
  const auto* floats = reinterpret_cast<const float*>(source.bytes().data());
  for (std::size_t i = 0; i < count; ++i)
    views.push_back(view_of(std::span(floats + i * values, values)));
  std::size_t good = 0;
  for (auto&& [index, result] :
       pipe.stream(views, nf4{}, {.measure = true, .into = results.bytes()})) {
    REQUIRE(result.has_value());
    CHECK(result->plane(0).data() == results.bytes().data() + index * each);
    const tensor_values mine(floats + index * values, floats + (index + 1) * values);
    good += same_bytes(*result, by_reference("nf4", mine).view());
    REQUIRE(result->measured() != nullptr);
    tensor_values back(values);
    REQUIRE(result->decode(back));
    float most = 0;
    for (std::size_t i = 0; i < values; ++i)
      most = std::max(most, std::abs(back[i] - mine[i]));
    CHECK(result->measured()->max_error == most);
  }
  CHECK(good == count);
  std::vector<std::byte> elsewhere(count * each);
  std::size_t refused = 0;
  for (auto&& [index, result] : pipe.stream(views, nf4{}, {.into = elsewhere}))
    refused += !result && result.error().code == errc::bad_option;
  CHECK(refused == count);
}

TEST_CASE("process lanes: tensors of a ticket each go there several at a time, whatever dies") {
  const std::size_t count = 4000, values = 256, bad = 1234, outside = 2222;
  pipeline pipe{processes(2)};
  const auto each = map_planes(kernels::parse_recipe("nf4", dtype::f32).value(), 1, values).total;
  auto source = pipe.share(count * values * sizeof(float)).value();
  auto results = pipe.share(count * ((each + 63) / 64 * 64)).value();
  auto numbers = normal_values(count * values, 1);
  numbers[bad * values + 3] = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(source.bytes().data(), numbers.data(), source.bytes().size());
  std::vector<tensor_view> views;
  for (std::size_t i = 0; i < count; ++i) { // of some the bytes are to be copied
    const auto* floats = i < outside ? reinterpret_cast<const float*>(source.bytes().data())
                                     : numbers.data();
    views.push_back(view_of(std::span(floats + i * values, values)));
  }
  std::uint32_t lane = 0;
  for (const bool killed : {false, true}) {
    CAPTURE(killed);
    const auto before = *pipe.metrics().queue;
    std::size_t good = 0, refused = 0;
    for (auto&& [index, result] :
         pipe.stream(views, nf4{}, {.batch_tensors = 1, .into = results.bytes()})) {
      if (killed && index % 500 == 0)
        pipe.kill_lane(lane++);
      refused += !result && index == bad && result.error().code == errc::not_finite;
      const auto* from = numbers.data() + index * values;
      good += result
              && same_bytes(*result, by_reference("nf4", {from, from + values}).view());
    }
    CHECK(good == count - 1);
    CHECK(refused == 1);
    const auto after = *pipe.metrics().queue;
    CHECK(after.tickets - before.tickets == count);
    if (!killed && pipe.metrics().tickets.p50_ms < 0.02) // units that take longer travel alone
      CHECK(after.messages - before.messages < count);
    CHECK((after.tickets_lost > before.tickets_lost) == killed);
  }
}

TEST_CASE("process lanes: rows apart, other shapes and bad tensors among good ones") {
  auto block = normal_values(64 * 400, 1);
  block[128 * 3 + 5] = std::numeric_limits<float>::quiet_NaN();
  std::vector<tensor_view> views;
  for (std::size_t i = 0; i < 100; ++i) {
    auto view = view_of(std::span<const float>(block).subspan(i * 128, i % 9 == 4 ? 32 : 64));
    if (i % 5 == 2) // two rows, the second behind a gap
      view = {view.data, 2, 32, 48 * sizeof(float), dtype::f32};
    views.push_back(i % 11 == 5 ? tensor_view{} : view);
  }
  pipeline pipe{processes(2)};
  std::map<std::uint64_t, error> bad;
  std::size_t good = 0;
  for (auto&& [index, result] : pipe.stream(views, int8{}, {.batch_tensors = 20})) {
    if (!result) {
      bad.emplace(index, result.error());
      continue;
    }
    const auto& view = views[index];
    good += same_bytes(*result, together_by_reference("int8", view).view());
  }
  CHECK(good + bad.size() == views.size());
  CHECK(bad.size() == 10); // nine without data, and the NaN
  CHECK(bad[3].text.find("tensor 3: NaN or infinity at [0, 5]") == 0);
}

TEST_CASE("process lanes: rows whose gaps end behind their memory are not followed into the next") {
  constexpr std::uint64_t rows = 8, cols = 1000, apart = 4096;
  pipeline pipe{processes(1)};
  std::vector<shared_bytes> all; // pages that follow each other, of memory that does not
  std::optional<std::pair<std::size_t, std::size_t>> pair;
  for (std::size_t i = 0; i < 64 && !pair; ++i) {
    all.push_back(pipe.share(rows * apart - 96).value());
    for (std::size_t k = 0; k < i; ++k)
      for (const auto& [a, b] : {std::pair{i, k}, std::pair{k, i}})
        if (all[a].bytes().data() + rows * apart == all[b].bytes().data())
          pair.emplace(a, b);
  }
  if (!pair) {
    WARN("no memory beside another");
    return;
  }
  std::vector<tensor_view> views;
  for (const auto at : {pair->first, pair->second}) {
    const auto bytes = all[at].bytes();
    const auto numbers = normal_values(bytes.size() / sizeof(float), static_cast<unsigned>(at));
    std::memcpy(bytes.data(), numbers.data(), bytes.size());
    views.push_back({bytes.data(), rows, cols, apart, dtype::f32});
  }
  for (auto&& [index, result] : pipe.stream(views, int8{})) {
    REQUIRE(result.has_value());
    CHECK(same_bytes(*result, together_by_reference("int8", views[index]).view()));
  }
}

TEST_CASE("process lanes: long rows apart that are copied cost no memory to be brought together") {
  const std::size_t cols = (1 << 20) + 1;
  const auto values = normal_values(2 * cols + 7, 3);
  const auto data = view_of(std::span<const float>(values)).data;
  const std::vector<tensor_view> views{{data, 1, 512, 0, dtype::f32},
                                       {data, 2, cols, (cols + 7) * sizeof(float), dtype::f32}};
  pipeline pipe{processes(2)};
  const auto held = [&](std::span<const tensor_view> of) { // by a stream at its last result
    std::uint64_t bytes = 0;
    for (auto&& [index, result] : pipe.stream(of, nf4{}, {.in_order = true})) {
      CHECK(result.has_value());
      bytes = pipe.metrics().queue->budget_bytes;
    }
    return bytes;
  };
  CHECK(held(views) == held(std::span(views).first(1)));
}

TEST_CASE("process lanes: killed at random moments, they cost time and no tensor") {
  const auto tensors = many_tensors(6000, 512);
  pipeline pipe{processes(2)};
  std::vector<int> times(tensors.size());
  std::size_t wrong = 0;
  std::uint32_t lane = 0;
  const auto lost = [&] { return pipe.metrics().queue->tickets_lost; };
  for (int round = 0; round < 20 && (round < 2 || lost() < 3); ++round) {
    std::ranges::fill(times, 0);
    for (auto&& [index, result] : pipe.stream(tensors, nf4{}, {.batch_tensors = 32})) {
      if (index % 512 == 0)
        pipe.kill_lane(lane++);
      ++times[index];
      wrong += !result || !same_bytes(*result, by_reference("nf4", tensors[index]).view());
    }
    CHECK(std::ranges::all_of(times, [](int n) { return n == 1; }));
  }
  const auto seen = pipe.metrics();
  CHECK(wrong == 0);
  CHECK(seen.restarts > 0);
  CHECK(seen.queue->tickets_lost > 0);
  CHECK(seen.deaths.at("killed") > 0);
}

TEST_CASE("process lanes: memory that nobody holds here is let go of there, even by an idle lane") {
  const auto tensors = many_tensors(2000, 512);
  pipeline pipe{processes(2)};
  std::size_t most = 0;
  for (auto&& [index, result] : pipe.stream(tensors, int8{}, {.batch_tensors = 64})) {
    CHECK(result.has_value());
    if (index % 500 == 0)
      most = std::max(most, regions_of_children());
  }
  CHECK(most > 0);
  const auto until = std::chrono::steady_clock::now() + 10s;
  while (regions_of_children() != 0 && std::chrono::steady_clock::now() < until)
    std::this_thread::yield();
  CHECK(regions_of_children() == 0);
}

TEST_CASE("process lanes: a stream without end takes no more shared memory as it goes on") {
  const auto tensor = normal_values(4096, 1);
  const auto endless = [&](std::span<tensor_view> out) {
    for (auto& each : out)
      each = view_of(std::span<const float>(tensor));
    return out.size();
  };
  pipeline pipe{processes(2)};
  auto stream = pipe.stream_from(endless, int8{}, {.batch_tensors = 64, .window = 8});
  const auto all = tests::sized(50'000, 5'000);
  std::uint64_t most = 0;
  for (std::size_t i = 0; i < all; ++i) {
    REQUIRE(stream.step());
    REQUIRE(stream.item().result.has_value());
    if (i % (all / 10) == 0)
      most = std::max(most, shared_bytes_in_use());
  }
  CHECK(most > 0);
  CHECK(most < 96 << 20); // a batch is 1.3 MB with its copies, in three processes; all are 1 GB
}

TEST_CASE("process lanes: a batch for which the system has no memory file is lost alone, by name") {
  const auto tensors = many_tensors(320, 512);
  pipeline pipe{processes(1)};
  CHECK(pipe.stream(tensors, int8{}).step()); // the lane is up
  std::optional<no_descriptors> poor{std::in_place};
  CHECK(pipe.share(100).error().code == errc::over_budget);
  std::size_t good = 0, lost = 0;
  for (auto&& [index, result] : pipe.stream(tensors, int8{}, {.batch_tensors = 16})) {
    poor.reset(); // by the first answer, which is a refusal
    if (result) {
      good += same_bytes(*result, by_reference("int8", tensors[index]).view());
      continue;
    }
    ++lost;
    CHECK(index < 16);
    CHECK(result.error().code == errc::over_budget);
    CHECK(result.error().text.find("no memory file") != std::string::npos);
  }
  CHECK(lost == 16);
  CHECK(good == tensors.size() - 16);
}

TEST_CASE("process lanes: what is shared lies on large pages, where the system has them") {
  pipeline pipe{processes(1)};
  const auto memory = pipe.share((4 << 20) + 1).value(); // not a whole number of pages
  CHECK(memory.bytes().size() == (4 << 20) + 1);
  CHECK(reinterpret_cast<std::uintptr_t>(memory.bytes().data()) % actors::large_page_bytes == 0);
  CHECK(std::ranges::all_of(memory.bytes(), [](std::byte b) { return b == std::byte{}; }));
}

TEST_CASE("process lanes: what is no lane is told") {
  const auto values = normal_values(640, 1);
  std::vector<tensor_values> one{values};
  auto refused = [&](pipeline_options options) {
    pipeline pipe{std::move(options)};
    for (auto&& [index, result] : pipe.stream(one, nf4{}))
      return result ? errc::ok : result.error().code;
    return errc::ok;
  };
  CHECK(refused({.lanes = 1, .isolation = isolation::process}) == errc::bad_option);
  CHECK(refused({.lanes = 1, .isolation = isolation::process, .lane_program = "/bin/true"})
        == errc::fault);
}

TEST_CASE("tensor frames: what is cut short or changed in a count is refused") {
  actors::tensor_order order;
  order.method = "nf4";
  order.slots = 9;
  order.runs = {{1, 64, 1, 128, 0, 0, 0, 4}, {2, 0, 2, 64, 512, 256, 4, 5}};
  const auto bytes = actors::encode(std::vector{order});
  const auto whole = actors::decode_tensors(bytes);
  REQUIRE(whole.has_value());
  CHECK(whole->front().runs[1].row_bytes == 512);
  for (std::size_t cut = 0; cut < bytes.size(); ++cut)
    CHECK_FALSE(actors::decode_tensors(std::string_view(bytes).substr(0, cut)).has_value());
  order.runs[1].count = 6; // a slot too many
  CHECK_FALSE(actors::decode_tensors(actors::encode(std::vector{order})).has_value());
  order.runs.clear();
  order.slots = actors::slots_max;
  CHECK(actors::decode_tensors(actors::encode(std::vector{order})).has_value());
  ++order.slots;
  CHECK_FALSE(actors::decode_tensors(actors::encode(std::vector{order})).has_value());
  actors::tensor_receipt receipt;
  receipt.problems = {{3, errc::not_finite, 7}, {3, errc::not_finite, 8}}; // one tensor twice
  CHECK_FALSE(actors::decode_encoded(actors::encode(std::vector{receipt})).has_value());
  receipt.problems.pop_back();
  CHECK(actors::decode_encoded(actors::encode(std::vector{receipt})).has_value());
}
