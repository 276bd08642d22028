// The independent reader, on journals written by hand: what it lets pass and what it accuses.

#include "actors/journal_file.hpp"
#include "actors/shard_ranges.hpp"
#include "tests/actors/jobs.hpp"
#include "tests/faults/check_files.hpp"
#include "tests/faults/simulated_disk.hpp"

using namespace viva;
using namespace viva::actors;
using faults::check_journal;

namespace {

/// A journal of one group of records after the other; an empty group begins a new life.
faults::journal_findings found_in(const std::vector<std::vector<journal_record>>& groups,
                                  std::uint32_t strikes_max = 0) {
  faults::simulated_disk disk;
  auto journal = journal_file::open(disk, "j", {{"shards", "2"}}, {});
  REQUIRE(journal);
  for (const auto& each : groups) {
    if (each.empty())
      journal = journal_file::open(disk, "j", {}, read_journal(disk, "j")->end);
    REQUIRE(journal);
    REQUIRE(journal->append(each));
  }
  auto found = check_journal(*disk.look("j"), strikes_max);
  CHECK(found.is == faults::journal_findings::state::whole);
  return found;
}

using accusations = std::vector<std::string>;

} // namespace

TEST_CASE("checker: a shard is done once, whatever its bytes, unless it was pardoned between") {
  const std::uint64_t other = GENERATE(7, 8);
  CHECK(found_in({{done_record{1, 7, "", 1}}, {done_record{1, other, "", 2}}}).broken
        == accusations{"shard 1 is done twice"});
  CHECK(found_in({{done_record{1, 7, "", 1}}, {}, {done_record{1, other, "", 1}}}).broken
        == accusations{"shard 1 is done twice"});
  CHECK(found_in({{done_record{1, 7, "", 1}}, {}, {pardon_record{1}}, {done_record{1, 7, "", 1}}})
          .broken.empty());
}

TEST_CASE("checker: what is done is neither struck nor put into quarantine, nor done there") {
  CHECK(found_in({{done_record{1, 7, "", 2}}, {strike_record{1, "crash", 1}}}).broken
        == accusations{"shard 1 is struck and done"});
  CHECK(found_in({{strike_record{1, "crash", 1}, quarantine_record{1, "", {"crash"}}},
                  {done_record{1, 7, "", 2}}})
          .broken
        == accusations{"shard 1 is done in quarantine"});
  CHECK(found_in({{strike_record{1, "crash", 1}, quarantine_record{1, "", {"crash"}}},
                  {pardon_record{1}},
                  {done_record{1, 7, "", 2}}})
          .broken.empty());
}

TEST_CASE("checker: a run that died, or was none, brings nothing home; each life counts anew") {
  CHECK(found_in({{strike_record{1, "crash", 1}}, {done_record{1, 7, "", 1}}}).broken
        == accusations{"shard 1 is done by a run that died"});
  CHECK(found_in({{strike_record{1, "crash", 1}}, {done_record{1, 7, "", 2}}}).broken.empty());
  CHECK(found_in({{strike_record{1, "crash", 1}}, {}, {done_record{1, 7, "", 1}}}).broken.empty());
  CHECK(found_in({{done_record{1, 7, ""}}}).broken == accusations{"shard 1 is done by no run"});
  CHECK(found_in({{strike_record{1, "crash", 1}}, {strike_record{1, "crash", 1}}}).broken
        == accusations{"shard 1 is struck by a run that was none, or had died"});
}

TEST_CASE("checker: quarantine has as many strikes as lead there, and their reasons") {
  const strike_record first{1, "crash", 1}, alone{1, "hang", 2};
  CHECK(found_in({{first, alone, quarantine_record{1, "", {"crash", "hang"}}}}, 1).broken.empty());
  CHECK(found_in({{first, alone, quarantine_record{1, "", {"hang"}}}}, 1).broken.empty());
  CHECK(found_in({{first, quarantine_record{1, "", {"crash"}}}}, 1).broken
        == accusations{"shard 1 is in quarantine after 1 strikes"});
  for (const auto& reasons : {accusations{}, accusations{"crash"}, accusations{"hang", "crash"},
                              accusations{"a", "crash", "hang"}})
    CHECK(found_in({{first, alone, quarantine_record{1, "", reasons}}}, 1).broken
          == accusations{"shard 1 is in quarantine for other reasons than its strikes"});
}

TEST_CASE("checker: whoever was struck once is remembered, done or pardoned since") {
  const auto found = found_in({{strike_record{0, "crash", 1}, strike_record{1, "crash", 1}},
                               {done_record{0, 7, "", 2}},
                               {pardon_record{1}}});
  CHECK(found.strikes.empty());
  CHECK(found.ever_struck == std::set<std::uint32_t>{0, 1});
}

TEST_CASE("checker: a name for less than all shards is accused") {
  CHECK(found_in({{done_record{0, 7, "", 1}}, {naming_record{1, 2, false}}}).broken
        == accusations{"the output gets its name with 1 of 2 shards done"});
}

TEST_CASE("checker: behind its end a life writes nothing, and the next one may") {
  const closing_record end{"job_failed", "words"};
  const auto ended = found_in({{done_record{0, 7, "", 1}}, {end}});
  CHECK(ended.broken.empty());
  CHECK(ended.ended == "job_failed");
  CHECK(found_in({{end}, {done_record{0, 7, "", 1}}}).broken
        == accusations{"a life writes on behind its end"});
  const auto later = found_in({{end}, {}, {done_record{0, 7, "", 1}}});
  CHECK(later.broken.empty());
  CHECK(later.ended.empty());
}

TEST_CASE("checker: the bytes of what is done are those of an undisturbed run, or accused") {
  const tests::temporary_folder folder;
  auto spec = tests::spec_for(tests::synthesized(folder), folder / "whole", "nf4");
  spec.limits.shard_bytes_max = 64 << 10;
  tests::must(run_quantize(spec));
  spec.output = folder / "out";
  tests::stop_early(spec);
  const auto partial = partial_path(spec.output);
  const auto journal = check_journal(tests::text_of(journal_path(spec.output)), 3);
  REQUIRE(journal.done.size() >= 5);
  const auto look = [&] {
    const auto found = faults::check_files(journal, spec.source, partial, folder / "whole");
    REQUIRE(found);
    CHECK(found->shards == journal.done.size());
    CHECK(found->bytes > 5u * (16u << 10));
    return found->broken;
  };
  CHECK(look().empty());

  const auto source = formats::open_checkpoint(spec.source);
  REQUIRE(source);
  const auto work = plan_quantize(*source, spec, {});
  REQUIRE(work);
  const auto touch = [&](std::uint32_t shard) { // the last byte that it writes
    const auto range = output_ranges(*work, work->shards[shard]).back();
    const auto file = work->output.folder ? partial / work->output.files[range.file].name : partial;
    const auto at = range.offset + range.bytes - 1;
    const auto byte = tests::text_of(file)[at];
    tests::plant(file, at, std::string(1, static_cast<char>(byte ^ 1)));
  };
  std::uint32_t open = 0;
  while (journal.done.contains(open))
    ++open;
  touch(open); // of one that nobody called done
  CHECK(look().empty());
  const auto shard = journal.done.rbegin()->first;
  touch(shard);
  const auto broken = look();
  REQUIRE(broken.size() == 1);
  CHECK(broken[0].find("shard " + std::to_string(shard) + " is done and its bytes are others at ")
        == 0);

  auto other = journal;
  other.fingerprint["shard_bytes"] = "131072";
  CHECK(faults::check_files(other, spec.source, partial, folder / "whole").error().code
        == errc::fingerprint_mismatch);
}
