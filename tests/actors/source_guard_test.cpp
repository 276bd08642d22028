// A source that loses its bytes while it is read.

#include "actors/shard_work.hpp"
#include "actors/source_guard.hpp"
#include "tests/actors/jobs.hpp"

#include <sys/wait.h>
#include <unistd.h>

using namespace viva;
using namespace viva::tests;

TEST_CASE("source: one that is truncated under the map is an error of its shards, no death") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  const auto file = source / "model.safetensors";
  const auto opened = formats::open_checkpoint(source);
  REQUIRE(opened);
  const auto work = actors::plan_quantize(*opened, spec_for(source, folder / "out", "int8"), {});
  REQUIRE(work);
  const auto place = actors::workplace::open(*work, folder / "out", nullptr);
  REQUIRE(place);
  const auto run = [&](const actors::shard& s) {
    return actors::run_shard(*work, *place, s, {}, {});
  };
  REQUIRE(run(work->shards.front()));
  fs::resize_file(file, fs::file_size(file) / 2);
  const auto cut = run(work->shards.back());
  REQUIRE_FALSE(cut);
  CHECK(cut.error().code == errc::unreadable);
  CHECK(cut.error().text.find("was cut short") != std::string::npos);
  CHECK_FALSE(run(work->shards.front())); // nothing of this source is believed any more
}

TEST_CASE("source: a bus error of somebody else still ends the process") {
  const actors::source_guard guard{std::span<const std::byte>{}}; // installs the handler
  const auto child = ::fork();
  if (child == 0) {
    ::raise(SIGBUS);
    ::_exit(0);
  }
  int how = 0;
  REQUIRE(::waitpid(child, &how, 0) == child);
  CHECK(WIFSIGNALED(how));
  CHECK(WTERMSIG(how) == SIGBUS);
}
