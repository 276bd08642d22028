// Where lost shards of resident tensors come from, and what becomes of them where that is gone.

#include "actors/pipeline/resident_store.hpp"
#include "actors/workplace.hpp"
#include "tests/actors/residents.hpp"
#include "tests/support/temporary_folder.hpp"

#include <atomic>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

using namespace viva;
using namespace viva::testing;
using namespace std::chrono_literals;

namespace {

constexpr auto rows = resident_rows, cols = resident_cols;

std::filesystem::path written(const std::filesystem::path& path, std::span<const float> values) {
  std::ofstream(path, std::ios::binary)
    .write(reinterpret_cast<const char*>(values.data()),
           static_cast<std::streamsize>(values.size_bytes()));
  return path;
}

file_values values_in(const std::filesystem::path& path) {
  return {path, 0, rows, cols, dtype::f32};
}

/// What fetching answers after all lanes died.
error lost(pipeline& pipe, tensor_id what) {
  kill_all(pipe);
  const auto got = pipe.fetch(what).get();
  return got ? error{} : got.error();
}

struct family {
  tensor_id source, child, sibling;
};

} // namespace

TEST_CASE("resident: a source is released by its id and by any that was made from it") {
  const auto kind = GENERATE(isolation::thread, isolation::process);
  const auto by = GENERATE(as<std::string>{}, "its own", "its own, dropped", "a child's",
                           "a child's, the source dropped", "a dropped child's",
                           "a child's number, the source dropped");
  CAPTURE(by);
  auto values = normal_values(rows * cols, 1);
  pipeline pipe{lanes_of(2, kind)};
  family all;
  all.source = pipe.put("w", wide(values)).get().value();
  all.child = pipe.quantize(all.source, int8{}).get().value();
  all.sibling = pipe.quantize(all.source, nf4{}).get().value();
  CHECK(all.child.source == all.source.number);
  auto with = by.starts_with("its") ? all.source : all.child;
  if (by.find("the source dropped") != std::string::npos || by == "its own, dropped")
    pipe.drop(all.source);
  if (by == "a dropped child's")
    pipe.drop(all.child);
  if (by.find("number") != std::string::npos)
    with.source = 0;
  pipe.release_source(with);
  std::ranges::fill(values, 0.0f); // the caller's again
  const auto why = lost(pipe, all.sibling);
  CHECK(why.code == errc::fault);
  CHECK(why.text.find("w: a lane died that held rows") == 0);
  CHECK(why.text.find("its source was released; put it again") != std::string::npos);
}

TEST_CASE("resident: a file that was released is not read again") {
  const tests::temporary_folder folder;
  const auto values = normal_values(rows * cols, 2);
  pipeline pipe{lanes_of(2, GENERATE(isolation::thread, isolation::process))};
  const auto id = pipe.put("w", values_in(written(folder / "w.bin", values))).get().value();
  const auto made = pipe.quantize(id, int8{}).get().value();
  pipe.release_source(made);
  CHECK(same_bytes(pipe.fetch(made).get()->view(), whole("int8", values).view()));
  const auto why = lost(pipe, made);
  CHECK(why.code == errc::fault);
  CHECK(why.text.find("its source was released") != std::string::npos);
}

TEST_CASE("resident: a file that is another by now is an error, not bytes of both") {
  const tests::temporary_folder folder;
  const auto values = normal_values(rows * cols, 3), others = normal_values(rows * cols, 4);
  const auto path = written(folder / "w.bin", values);
  const auto kind = GENERATE(isolation::thread, isolation::process);
  const auto how = GENERATE(as<std::string>{}, "rewritten", "replaced", "removed");
  CAPTURE(how);
  pipeline pipe{lanes_of(2, kind)};
  const auto id = pipe.put("w", values_in(path)).get().value();
  const auto made = pipe.quantize(id, nf4{}).get().value();
  const auto was = actors::state_of(path);
  while (actors::state_of(path) == was) // the clock of files ticks in milliseconds
    if (how == "rewritten")
      written(path, others);
    else if (how == "replaced")
      std::filesystem::rename(written(folder / "other.bin", others), path);
    else
      std::filesystem::remove(path);
  const auto why = lost(pipe, made);
  CHECK(why.code == errc::unreadable);
  CHECK(why.text.find("w: rows ") == 0);
  CHECK(why.text.find(path.string() + " is not what it was when it was put") != std::string::npos);
}

TEST_CASE("resident: values of a file come back whatever dies, also once it was dropped") {
  const tests::temporary_folder folder;
  const auto values = normal_values(rows * cols, 5);
  const auto must = whole("nf4-dq", values);
  pipeline pipe{lanes_of(2, GENERATE(isolation::thread, isolation::process))};
  const auto id = pipe.put("w", values_in(written(folder / "w.bin", values))).get().value();
  std::mt19937 random(6);
  std::optional<tensor_id> last;
  for (int round = 0; round < 6; ++round) {
    if (round % 2 == 0)
      kill_all(pipe);
    auto making = pipe.quantize(id, "nf4-dq");
    making.wait_for(std::chrono::microseconds(random() % 3000));
    pipe.kill_lane(static_cast<std::uint32_t>(random()));
    last = making.get().value();
    CHECK(same_bytes(pipe.fetch(*last).get()->view(), must.view()));
  }
  pipe.drop(id);
  for (int round = 0; round < 2; ++round) {
    kill_all(pipe);
    auto fetching = pipe.fetch(*last);
    pipe.kill_lane(static_cast<std::uint32_t>(round));
    const auto got = fetching.get();
    REQUIRE(got.has_value());
    CHECK(same_bytes(got->view(), must.view()));
  }
}

TEST_CASE("resident: lane processes go on while a file takes its time") {
  const tests::temporary_folder folder;
  const auto values = normal_values(1 << 20, 7);
  const auto path = folder / "slow";
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0); // to open it takes until somebody writes
  pipeline pipe{lanes_of(2, isolation::process)};
  auto slow = pipe.put("w", values_in(path));
  auto other = pipe.quantize(wide(values), int8{});
  CHECK(other.wait_for(20s));
  CHECK_FALSE(slow.ready());
  const int writer = ::open(path.c_str(), O_RDWR);
  REQUIRE(writer >= 0);
  const auto got = slow.get();
  ::close(writer);
  REQUIRE_FALSE(got.has_value()); // it cannot be read at a place
  CHECK(got.error().code == errc::unreadable);
  CHECK(got.error().text.find(path.string()) != std::string::npos);
  CHECK(other.get().has_value());
}

TEST_CASE("resident: of what was dropped a lane keeps nothing, whoever needs it once more") {
  const auto values = normal_values(64 * 1024, 8);
  const std::atomic<bool> condemned{false};
  actors::lane_shelf shelf;
  const actors::lane_floor floor{condemned, shelf};
  const auto how = kernels::parse_recipe("int8", dtype::f32).value();
  const auto source = std::make_shared<actors::resident_tensor>(
    1, "w", matrix_of(values, 64), actors::file_source{}, actors::budget::lease{});
  const auto child = std::make_shared<actors::resident_tensor>(2, source, how,
                                                               actors::budget::lease{});
  REQUIRE(child->need(0, floor));
  CHECK(shelf.find({1, 0}) != nullptr); // for the next one that is made from it
  shelf.drop({2, 0});
  source->dropped = true; // after all shelves were cleared this one has it again
  REQUIRE(child->need(0, floor));
  CHECK(shelf.find({1, 0}) == nullptr);
  CHECK(shelf.find({2, 0}) != nullptr);
}

TEST_CASE("resident store: what was dropped is known as long as anything is made from it") {
  actors::resident_store store;
  const auto values = normal_values(64, 9);
  const auto how = kernels::parse_recipe("int8", dtype::f32).value();
  const auto put = [&] {
    auto made = std::make_shared<actors::resident_tensor>(
      store.next_number(), "w", view_of(std::span<const float>(values)), actors::file_source{},
      actors::budget::lease{});
    store.add(actors::resident_store::place_for(made));
    return made->number;
  };
  const auto kept = put();
  const auto child = std::make_shared<actors::resident_tensor>(store.next_number(),
                                                               store.find(kept), how,
                                                               actors::budget::lease{});
  CHECK(store.remove(kept) != nullptr);
  CHECK(store.find(kept) == nullptr);
  CHECK(store.remove(kept) == nullptr);
  CHECK(store.known(kept) == child->parent);
  for (int i = 0; i < 1000; ++i) { // others come and go
    const auto number = put();
    CHECK(store.remove(number) != nullptr);
    CHECK(store.known(number) == nullptr);
  }
  CHECK(store.known(kept) == child->parent);
  const auto back = put();
  const auto dropped = store.remove(back);
  store.put_back(dropped);
  CHECK(store.find(back) == dropped);
  CHECK_FALSE(dropped->dropped);
}
