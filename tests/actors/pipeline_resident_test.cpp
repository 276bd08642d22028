#include "tests/actors/residents.hpp"
#include "tests/support/temporary_folder.hpp"

#include <chrono>
#include <fstream>
#include <limits>
#include <thread>

using namespace viva;
using namespace viva::testing;
using namespace std::chrono_literals;

namespace {

constexpr auto rows = resident_rows, cols = resident_cols;

/// Bytes of the budget that are in use, once they are so many or 10 s later.
std::uint64_t settled(const pipeline& pipe, std::uint64_t bytes) {
  const auto until = std::chrono::steady_clock::now() + 10s;
  const auto used = [&] { return pipe.metrics().queue->budget_bytes; };
  while (used() != bytes && std::chrono::steady_clock::now() < until)
    std::this_thread::yield();
  return used();
}

} // namespace

TEST_CASE("resident: encoded in the lanes, fetched whole, with the reference's bytes") {
  const auto values = normal_values(rows * cols, 1);
  pipeline pipe{lanes_of(2, GENERATE(isolation::thread, isolation::process))};
  const auto id = pipe.put("layer.0.w", wide(values)).get();
  REQUIRE(id.has_value());
  CHECK(pipe.metrics().queue->budget_bytes == rows * cols * 4);
  for (const auto* words : {"int8", "int8-tensor", "nf4", "nf4-dq", "nvfp4", "sparse24"}) {
    INFO(words);
    const auto made = pipe.quantize(*id, words).get();
    REQUIRE(made.has_value());
    const auto got = pipe.fetch(*made).get();
    REQUIRE(got.has_value());
    CHECK(same_bytes(got->view(), whole(words, values).view()));
    pipe.drop(*made);
  }
  pipe.drop(*id);
  CHECK(pipe.fetch(*id).get().error().code == errc::bad_option);
}

TEST_CASE("resident: what a dead lane held is made again by lineage, at any moment") {
  const auto values = normal_values(rows * cols, 2);
  const auto must = whole("nf4-dq", values);
  pipeline pipe{lanes_of(2, GENERATE(isolation::thread, isolation::process))};
  const auto id = pipe.put("w", wide(values)).get();
  REQUIRE(id.has_value());
  std::mt19937 random(3);
  for (int round = 0; round < 12; ++round) {
    if (round % 3 == 0)
      kill_all(pipe); // before: the source's shards are gone
    auto making = pipe.quantize(*id, "nf4-dq");
    making.wait_for(std::chrono::microseconds(random() % 3000));
    pipe.kill_lane(static_cast<std::uint32_t>(random())); // in the midst
    const auto made = making.get();
    REQUIRE(made.has_value());
    if (round % 3 == 1)
      kill_all(pipe); // after: the result's shards are gone, and their parents'
    const auto got = pipe.fetch(*made).get();
    REQUIRE(got.has_value());
    CHECK(same_bytes(got->view(), must.view()));
    pipe.drop(*made);
  }
  CHECK(pipe.metrics().restarts >= 8);
}

TEST_CASE("resident: without its source a lost shard is an error that says so") {
  auto values = normal_values(rows * cols, 3);
  pipeline pipe{lanes_of(2, GENERATE(isolation::thread, isolation::process))};
  const auto id = pipe.put("layer.1.w", wide(values)).get();
  REQUIRE(id.has_value());
  pipe.release_source(*id);
  std::ranges::fill(values, 0.0f); // the caller's again
  const auto made = pipe.quantize(*id, int8{}).get();
  REQUIRE(made.has_value()); // no lane has died: nothing is lost
  CHECK(same_bytes(pipe.fetch(*made).get()->view(),
                   whole("int8", normal_values(rows * cols, 3)).view()));
  kill_all(pipe);
  const auto gone = pipe.fetch(*made).get();
  REQUIRE_FALSE(gone.has_value());
  CHECK(gone.error().code == errc::fault);
  CHECK(gone.error().text.find("layer.1.w: a lane died that held rows") == 0);
  CHECK(gone.error().text.find("put it again") != std::string::npos);
}

TEST_CASE("resident: a result outlives its parent, and is still made again from its source") {
  const auto values = normal_values(rows * cols, 4);
  pipeline pipe{lanes_of(2, GENERATE(isolation::thread, isolation::process))};
  const auto id = pipe.put("w", wide(values)).get();
  const auto made = pipe.quantize(*id, nf4{}).get();
  REQUIRE(made.has_value());
  pipe.drop(*id);
  const auto must = whole("nf4", values);
  CHECK(settled(pipe, must.map().total) == must.map().total); // what the parent held is free
  for (int round = 0; round < 2; ++round) {
    kill_all(pipe);
    const auto got = pipe.fetch(*made).get();
    REQUIRE(got.has_value());
    CHECK(same_bytes(got->view(), must.view()));
    CHECK(settled(pipe, must.map().total) == must.map().total);
  }
}

TEST_CASE("resident: what is put after a drop has the room of the dropped, though a child lives") {
  const auto values = normal_values(rows * cols, 4);
  auto options = lanes_of(2, GENERATE(isolation::thread, isolation::process));
  options.budget_bytes = rows * cols * 5; // for a source and a result
  pipeline pipe{options};
  const auto id = pipe.put("w", wide(values)).get();
  REQUIRE(id.has_value());
  const auto made = pipe.quantize(*id, nf4{}).get();
  REQUIRE(made.has_value());
  pipe.drop(*id);
  auto next = pipe.put("v", wide(values), {.when_full = on_full::suspend});
  REQUIRE(next.wait_for(20s));
  CHECK(next.get().has_value());
}

TEST_CASE("resident: values of a file, read again after a death; a short file is named") {
  const tests::temporary_folder folder;
  const auto values = normal_values(rows * cols, 5);
  const auto path = folder / "values.bin";
  std::ofstream(path, std::ios::binary)
    .write("head", 4)
    .write(reinterpret_cast<const char*>(values.data()),
           static_cast<std::streamsize>(values.size() * 4));
  pipeline pipe{lanes_of(2, GENERATE(isolation::thread, isolation::process))};
  const auto id = pipe.put("w", file_values{path, 4, rows, cols, dtype::f32}).get();
  REQUIRE(id.has_value());
  kill_all(pipe);
  const auto made = pipe.quantize(*id, int8{}).get();
  REQUIRE(made.has_value());
  CHECK(same_bytes(pipe.fetch(*made).get()->view(), whole("int8", values).view()));
  const auto longer = pipe.put("x", file_values{path, 4, rows + 1, cols, dtype::f32}).get();
  REQUIRE_FALSE(longer.has_value());
  CHECK(longer.error().code == errc::unreadable);
  CHECK(longer.error().text.find(path.string()) != std::string::npos);
}

TEST_CASE("resident: NaN is named by its place in the tensor, and asking wrongly is told") {
  auto values = normal_values(rows * cols, 6);
  values[2500 * cols + 17] = std::numeric_limits<float>::quiet_NaN();
  pipeline pipe{lanes_of(2, GENERATE(isolation::thread, isolation::process))};
  const auto id = pipe.put("w", wide(values)).get();
  REQUIRE(id.has_value());
  for (const auto* words : {"int8", "int8-tensor"}) {
    const auto bad = pipe.quantize(*id, words).get();
    REQUIRE_FALSE(bad.has_value());
    CHECK(bad.error().text.find("w: NaN or infinity at [2500, 17]") == 0);
  }
  CHECK(pipe.fetch(*id).get().error().code == errc::unsupported);
  CHECK(pipe.quantize(tensor_id{99}, int8{}).get().error().code == errc::bad_option);
  CHECK(pipe.quantize(*id, "nf5").get().error().code == errc::unknown_method);
}

TEST_CASE("resident: tensors that stay count against the budget, and dropped ones give it back") {
  const auto values = normal_values(rows * cols, 7);
  auto options = lanes_of(2, GENERATE(isolation::thread, isolation::process));
  options.budget_bytes = rows * cols * 5;
  pipeline pipe{options};
  const auto id = pipe.put("w", wide(values)).get();
  REQUIRE(id.has_value());
  submit_options refuse;
  refuse.when_full = on_full::refuse;
  CHECK(pipe.put("v", wide(values), refuse).get().error().code == errc::over_budget);
  pipe.drop(*id);
  CHECK(pipe.put("v", wide(values)).get().has_value()); // waits until all lanes let go
}
