// The independent reader, on journals written by hand.

#include "actors/journal_file.hpp"
#include "tests/faults/checker.hpp"
#include "tests/faults/simulated_disk.hpp"
#include "tests/support/catch.hpp"

using namespace viva;
using namespace viva::actors;

namespace {

/// Of a journal of these records, each synced before the next.
faults::journal_findings found_in(const std::vector<journal_record>& records) {
  faults::simulated_disk disk;
  auto journal = journal_file::open(disk, "j", {{"shards", "2"}}, {});
  REQUIRE(journal);
  for (const auto& each : records)
    REQUIRE(journal->append({each}));
  return faults::check_journal(*disk.look("j"), 0);
}

using accusations = std::vector<std::string>;

} // namespace

TEST_CASE("checker: a shard is done once, whatever its bytes, unless it was pardoned between") {
  const std::uint64_t other = GENERATE(7, 8);
  CHECK(found_in({done_record{1, 7, ""}, done_record{1, other, ""}}).broken
        == accusations{"shard 1 is done twice"});
  CHECK(found_in({done_record{1, 7, ""}, pardon_record{1}, done_record{1, other, ""}})
          .broken.empty());
}

TEST_CASE("checker: whoever was struck once is remembered, done or pardoned since") {
  const auto found = found_in({strike_record{0, "crash"}, strike_record{1, "crash"},
                               done_record{0, 7, ""}, pardon_record{1}});
  CHECK(found.strikes.empty());
  CHECK(found.ever_struck == std::set<std::uint32_t>{0, 1});
}
