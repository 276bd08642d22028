// What can be told of a job from outside.

#include "actors/durable.hpp"
#include "actors/job_door.hpp"
#include "actors/job_view.hpp"
#include "actors/journal_file.hpp"
#include "actors/output_claim.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/temporary_folder.hpp"

#include <algorithm>
#include <fstream>
#include <unistd.h>

using namespace viva;
using viva::actors::job_door;
using viva::actors::journal_file;
using viva::tests::temporary_folder;

namespace {

void write(const std::filesystem::path& file, const std::string& text) {
  std::ofstream(file, std::ios::binary | std::ios::app) << text;
}

/// A journal of five shards, two of them durable.
void leave_journal(const std::filesystem::path& output) {
  auto journal = journal_file::open(actors::journal_path(output),
                                    {{"job", "quantize"}, {"shards", "5"}}, {});
  REQUIRE(journal);
  REQUIRE(journal->append({actors::done_record{0, 1, ""}, actors::done_record{3, 2, ""}}));
}

bool somebody_says(const std::string& words) {
  const auto all = look_into_jobs();
  return std::ranges::find(all, words) != all.end();
}

} // namespace

TEST_CASE("status: without any trace of a job there is nothing to tell", "[status]") {
  const temporary_folder folder;
  const auto status = status_of(folder / "out");
  REQUIRE_FALSE(status);
  CHECK(status.error().code == errc::unreadable);
}

TEST_CASE("status: an output under its final name is done", "[status]") {
  const temporary_folder folder;
  write(folder / "out", "x");
  CHECK(status_of(folder / "out")->state == job_state::done);
}

TEST_CASE("status: a partial output without a journal is not trusted", "[status]") {
  const temporary_folder folder;
  write(folder / "out.partial", "x");
  CHECK(status_of(folder / "out")->state == job_state::untrusted);
}

TEST_CASE("status: a dead job's journal tells what is durable and what a crash cut off",
          "[status]") {
  const temporary_folder folder;
  write(folder / "out.partial", "x");
  leave_journal(folder / "out");
  write(folder / "out.journal", "torn");
  const auto status = status_of(folder / "out");
  REQUIRE(status);
  CHECK(status->state == job_state::interrupted);
  CHECK(status->shards_durable == 2);
  CHECK(status->shards_total == 5);
  CHECK(status->torn_bytes == 4);
  CHECK(status->fingerprint.at("job") == "quantize");
  CHECK(status->next.find("only what is not durable") != std::string::npos);
  std::filesystem::remove(folder / "out.partial");
  CHECK(status_of(folder / "out")->next.find("starts anew") != std::string::npos);
}

TEST_CASE("status: shards in quarantine are named with every reason, and what to do about them",
          "[status]") {
  const temporary_folder folder;
  write(folder / "out.partial", "x");
  {
    auto journal = journal_file::open(actors::journal_path(folder / "out"),
                                      {{"job", "quantize"}, {"shards", "4"}}, {});
    REQUIRE(journal);
    REQUIRE(journal->append({actors::done_record{0, 1, ""}, actors::strike_record{1, "killed"},
                             actors::strike_record{2, "once"},
                             actors::quarantine_record{1, "'w': rows 0 to 8", {"killed"}, 77},
                             actors::quarantine_record{3, "", {"what no strike tells"}}}));
  }
  auto status = status_of(folder / "out");
  REQUIRE(status);
  CHECK(status->state == job_state::failed);
  CHECK(status->lives == 1);
  REQUIRE(status->struck.size() == 3);
  CHECK(status->struck[0].quarantined);
  CHECK(status->struck[0].place == "'w': rows 0 to 8");
  CHECK(status->struck[0].source_checksum == 77);
  CHECK(status->struck[0].reasons == std::vector<std::string>{"killed"});
  CHECK_FALSE(status->struck[1].quarantined);
  CHECK(status->struck[2].reasons == std::vector<std::string>{"what no strike tells"});
  CHECK(status->next.find("run the same command again for what is not durable") == 0);
  CHECK(status->next.find("--retry-quarantined") != std::string::npos);
}

TEST_CASE("status: how a job ended is told with what to do about it, until another life writes",
          "[status]") {
  const temporary_folder folder;
  write(folder / "out.partial", "x");
  leave_journal(folder / "out");
  const auto name = actors::journal_path(folder / "out");
  const auto end_with = [&](const error& why) {
    auto journal = journal_file::open(name, {}, actors::read_journal(name)->end);
    REQUIRE(journal);
    actors::note_end(*journal, why);
    const auto status = status_of(folder / "out");
    REQUIRE(status);
    CHECK(status->ended == to_string(why.code));
    return *status;
  };
  const auto failed = end_with({errc::job_failed, "two runs gave different bytes"});
  CHECK(failed.state == job_state::failed);
  CHECK(failed.why == "two runs gave different bytes");
  CHECK(failed.next.find("mend what ended it") == 0);
  CHECK(failed.lives == 2);
  const auto stopped = end_with({errc::interrupted, "interrupted"});
  CHECK(stopped.state == job_state::interrupted);
  CHECK(stopped.next.find("run the same command again") == 0);
  const auto talker = end_with({errc::disk_full, std::string(100'000, 'x')});
  CHECK(talker.why.size() < 1100); // it fits into the reserve
  auto journal = journal_file::open(name, {}, actors::read_journal(name)->end);
  REQUIRE(journal->append({actors::done_record{1, 3, ""}})); // and is killed
  const auto killed = status_of(folder / "out");
  CHECK(killed->ended.empty());
  CHECK(killed->state == job_state::interrupted);
}

TEST_CASE("status: a journal that outlived its output's naming is of no more use", "[status]") {
  const temporary_folder folder;
  write(folder / "out", "x");
  for (const bool ours : {false, true}) {
    auto named = actors::real_disk().identity(folder / "out");
    if (!ours)
      ++named.inode;
    auto journal = journal_file::open(actors::journal_path(folder / "out"), {{"job", "x"}}, {});
    REQUIRE(journal);
    REQUIRE(journal->append({actors::naming_record{named.device, named.inode, false}}));
    const auto status = status_of(folder / "out");
    REQUIRE(status);
    CHECK(status->state == (ours ? job_state::done : job_state::interrupted));
    CHECK((status->next.find("may remove") != std::string::npos) == ours);
  }
}

TEST_CASE("status: a claimed output belongs to a job that runs, and asking takes no claim",
          "[status]") {
  const temporary_folder folder;
  leave_journal(folder / "out");
  CHECK(status_of(folder / "out")->state == job_state::interrupted);
  const auto claim = actors::output_claim::take(folder / "out");
  REQUIRE(claim);
  CHECK(status_of(folder / "out")->state == job_state::running);
}

TEST_CASE("status: a damaged journal is an error", "[status]") {
  const temporary_folder folder;
  write(folder / "out.journal", "something else");
  CHECK(status_of(folder / "out").error().code == errc::malformed);
}

TEST_CASE("door: every open door tells its document, a closed one is gone", "[door]") {
  // Ours: other processes have doors, too, perhaps of this very test.
  const auto first = "the first of " + std::to_string(::getpid());
  const auto large = first + std::string(8u << 20, 'x'); // more than a socket holds
  {
    const job_door one{[&] { return first; }};
    const job_door other{[&] { return large; }};
    CHECK(somebody_says(first));
    CHECK(somebody_says(large));
  }
  CHECK_FALSE(somebody_says(first));
}
