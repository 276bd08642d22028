#include "actors/journal_file.hpp"
#include "tests/faults/checker.hpp"
#include "tests/faults/simulated_disk.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/temporary_folder.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>

using namespace viva;
using namespace viva::actors;

namespace {

const std::map<std::string, std::string> print{{"job", "quantize"}, {"method", "nf4"}};

/// A journal of three records; answers the bytes of the file after each.
std::vector<std::uint64_t> write_three(const std::filesystem::path& file) {
  auto journal = journal_file::open(file, print, {});
  REQUIRE(journal);
  std::vector<std::uint64_t> ends{std::filesystem::file_size(file)};
  for (std::uint32_t i = 0; i < 3; ++i) {
    REQUIRE(journal->append({done_record{i, 1000u + i, std::string(i, 'x')}}));
    ends.push_back(std::filesystem::file_size(file));
  }
  return ends;
}

std::string bytes_in(const std::filesystem::path& file) {
  std::ostringstream all;
  all << std::ifstream(file, std::ios::binary).rdbuf();
  return std::move(all).str();
}

void flip(const std::filesystem::path& file, std::uint64_t at) {
  std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
  bytes.seekg(static_cast<std::streamoff>(at));
  const char c = static_cast<char>(bytes.get());
  bytes.seekp(static_cast<std::streamoff>(at));
  bytes.put(static_cast<char>(c ^ 0x40));
}

} // namespace

TEST_CASE("journal: what is appended is read back, in order") {
  const tests::temporary_folder folder;
  write_three(folder / "j");
  const auto content = read_journal(folder / "j");
  REQUIRE(content);
  CHECK(content->fingerprint == print);
  REQUIRE(content->done.size() == 3);
  CHECK(content->done[2].shard == 2);
  CHECK(content->done[2].checksum == 1002);
  CHECK(content->done[2].findings == "xx");
}

TEST_CASE("journal: cut at any byte, the whole records before the cut stand") {
  const tests::temporary_folder folder;
  const auto ends = write_three(folder / "whole");
  for (std::uint64_t cut = 0; cut <= ends.back(); ++cut) {
    std::filesystem::copy_file(folder / "whole", folder / "cut",
                               std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(folder / "cut", cut);
    const auto content = read_journal(folder / "cut");
    REQUIRE(content);
    std::size_t whole = 0;
    while (whole < 3 && cut >= ends[whole + 1])
      ++whole;
    CHECK(content->done.size() == whole);
    CHECK(content->fingerprint.empty() == (cut < ends[0]));
  }
}

TEST_CASE("journal: appending after a torn tail overwrites it") {
  const tests::temporary_folder folder;
  const auto ends = write_three(folder / "j");
  std::filesystem::resize_file(folder / "j", ends[3] - 1);
  const auto torn = read_journal(folder / "j");
  REQUIRE(torn);
  auto journal = journal_file::open(folder / "j", print, torn->end);
  REQUIRE(journal);
  REQUIRE(journal->append({done_record{7, 77, "seven"}}));
  const auto content = read_journal(folder / "j");
  REQUIRE(content);
  REQUIRE(content->done.size() == 3);
  CHECK(content->done[2].shard == 7);
}

TEST_CASE("journal: a damaged frame with a whole one behind it is an error, the last one is cut") {
  const tests::temporary_folder folder;
  const auto ends = write_three(folder / "j");
  SECTION("in the middle, wherever the bit is") {
    for (auto at = ends[1]; at < ends[2]; ++at) {
      CAPTURE(at);
      flip(folder / "j", at);
      const auto content = read_journal(folder / "j");
      REQUIRE_FALSE(content);
      CHECK(content.error().code == errc::malformed);
      CHECK(content.error().text.find("at byte " + std::to_string(ends[1]) + " is damaged")
            != std::string::npos);
      flip(folder / "j", at);
    }
  }
  SECTION("at the end") {
    flip(folder / "j", ends[2] + 10);
    const auto content = read_journal(folder / "j");
    REQUIRE(content);
    CHECK(content->done.size() == 2);
    CHECK(content->end.bytes == ends[2]);
  }
}

TEST_CASE("journal: a frame that is missing or comes twice is out of sequence, and an error") {
  const tests::temporary_folder folder;
  const auto ends = write_three(folder / "j");
  const auto whole = bytes_in(folder / "j");
  const auto second = whole.substr(ends[1], ends[2] - ends[1]);
  const auto changed = GENERATE_REF(whole.substr(0, ends[1]) + whole.substr(ends[2]),
                                    whole + second);
  std::ofstream(folder / "j", std::ios::binary) << changed;
  const auto content = read_journal(folder / "j");
  REQUIRE_FALSE(content);
  CHECK(content.error().text.find("out of sequence") != std::string::npos);
}

TEST_CASE("journal: of a frame of records all stand or none, and strikes are before what is done") {
  const tests::temporary_folder folder;
  auto journal = journal_file::open(folder / "j", print, {});
  REQUIRE(journal);
  const auto before = std::filesystem::file_size(folder / "j");
  REQUIRE(journal->append({done_record{1, 1, "a"}, strike_record{2, "crash"},
                           done_record{3, 3, "c"}}));
  const auto whole = bytes_in(folder / "j");
  std::size_t only_strikes = 0;
  for (auto cut = before; cut < whole.size(); ++cut) {
    std::ofstream(folder / "j", std::ios::binary) << whole.substr(0, cut);
    const auto content = read_journal(folder / "j");
    REQUIRE(content);
    CHECK(content->done.empty());
    only_strikes += content->strikes.size();
    CHECK((content->end.bytes == before) == content->strikes.empty());
  }
  CHECK(only_strikes > 0);
}

TEST_CASE("journal: runs, reasons and the checksum of a source come back as they were written") {
  const tests::temporary_folder folder;
  auto journal = journal_file::open(folder / "j", print, {});
  REQUIRE(journal);
  REQUIRE(journal->append({done_record{1, 7, "found", 2}, strike_record{2, "crash", 3},
                           quarantine_record{2, "'w': rows 0 to 8", {"", "crash"}, 0xabcdef}}));
  const auto content = read_journal(folder / "j");
  REQUIRE(content);
  CHECK(content->done[0].run == 2);
  CHECK(content->strikes[0].run == 3);
  REQUIRE(content->quarantined.size() == 1);
  CHECK(content->quarantined[0].reasons == std::vector<std::string>{"", "crash"});
  CHECK(content->quarantined[0].source_checksum == 0xabcdef);
}

TEST_CASE("journal: strikes and quarantine hold until the shard is done or pardoned") {
  const tests::temporary_folder folder;
  auto journal = journal_file::open(folder / "j", print, {});
  REQUIRE(journal);
  REQUIRE(journal->append({strike_record{1, "first"}, strike_record{1, "second"},
                           strike_record{2, "odd"}, quarantine_record{1, "'w': rows 0 to 8"}}));
  auto content = read_journal(folder / "j");
  REQUIRE(content);
  REQUIRE(content->strikes.size() == 3);
  CHECK(content->strikes[1].reason == "second");
  REQUIRE(content->quarantined.size() == 1);
  CHECK(content->quarantined[0].place == "'w': rows 0 to 8");
  REQUIRE(journal->append({pardon_record{1}, done_record{2, 7, ""}}));
  content = read_journal(folder / "j");
  REQUIRE(content);
  CHECK(content->strikes.empty());
  CHECK(content->quarantined.empty());
}

TEST_CASE("journal: each life of the job leaves its number") {
  const tests::temporary_folder folder;
  write_three(folder / "j");
  for (std::uint32_t life = 2; life < 5; ++life) {
    const auto found = read_journal(folder / "j");
    REQUIRE(found);
    auto journal = journal_file::open(folder / "j", print, found->end);
    REQUIRE(journal);
    REQUIRE(journal->append({done_record{9, 9, ""}}));
    CHECK(read_journal(folder / "j")->end.life == life);
  }
}

TEST_CASE("journal: on a full disk what came home is still written down, and the job is told") {
  faults::simulated_disk disk;
  auto journal = journal_file::open(disk, "j", print, {});
  REQUIRE(journal);
  disk.full = true;
  const std::string large(200 << 10, 'x');
  bool told = false;
  for (std::uint32_t i = 0; i < 3; ++i) { // more than half of the reserve
    std::vector<journal_record> left_out;
    const auto done = journal->append({done_record{i, i, large}}, &left_out);
    told |= !done && done.error().code == errc::disk_full;
    CHECK(journal->sound());
    CHECK(left_out.empty());
  }
  CHECK(told);
  CHECK(disk.durable("j"));
  CHECK(read_journal(disk, "j")->done.size() == 3);
}

TEST_CASE("journal: more than a full disk's reserve holds leaves out what is done, no strike") {
  faults::simulated_disk disk;
  auto journal = journal_file::open(disk, "j", print, {});
  REQUIRE(journal);
  disk.full = true;
  std::vector<journal_record> records, left_out;
  const bool one_is_too_large = GENERATE(false, true);
  if (one_is_too_large)
    records.emplace_back(done_record{100, 7, std::string(3 << 20, 'x')});
  for (std::uint32_t i = 0; i < 48; ++i) // 3 MiB together
    records.emplace_back(done_record{i, i, std::string(64 << 10, 'x')});
  records.emplace_back(strike_record{60, "crash", 1});
  records.emplace_back(quarantine_record{60, "'w': rows 0 to 8", {"crash"}});
  const auto done = journal->append(records, &left_out);
  REQUIRE_FALSE(done);
  CHECK(done.error().code == errc::disk_full);
  CHECK(journal->sound());
  CHECK(disk.durable("j"));
  const auto content = read_journal(disk, "j");
  REQUIRE(content);
  CHECK(content->end.bytes == disk.look("j")->size()); // no torn tail
  CHECK(content->strikes.size() == 1);
  CHECK(content->quarantined.size() == 1);
  CHECK(content->done.size() > 4); // half a MiB of the reserve is theirs
  CHECK(content->done.size() + left_out.size() == records.size() - 2);
  for (const auto& each : left_out) {
    const auto shard = std::get<done_record>(each).shard;
    CHECK(std::ranges::none_of(content->done,
                               [&](const done_record& r) { return r.shard == shard; }));
  }
  CHECK(journal->append({strike_record{61, "crash", 1}}).error().code == errc::disk_full);
  CHECK(read_journal(disk, "j")->strikes.size() == 2);
  disk.full = false; // what was left out, once there is space
  CHECK(journal->append(left_out));
  CHECK(read_journal(disk, "j")->done.size() == records.size() - 2);
}

TEST_CASE("journal: resumed, it has its reserve before the first record") {
  faults::simulated_disk disk;
  REQUIRE(journal_file::open(disk, "j", print, {}));
  faults::random_source random(1);
  disk.crash(true, random); // takes what was reserved
  auto journal = journal_file::open(disk, "j", print, read_journal(disk, "j")->end);
  REQUIRE(journal);
  disk.full = true;
  CHECK(journal->append({strike_record{1, "crash", 1}}));
  CHECK(read_journal(disk, "j")->strikes.size() == 1);
}

TEST_CASE("journal: a group of records takes frames of 192 KiB at most") {
  faults::simulated_disk disk;
  auto journal = journal_file::open(disk, "j", print, {});
  REQUIRE(journal);
  std::vector<journal_record> records;
  for (std::uint32_t i = 0; i < 48; ++i)
    records.emplace_back(done_record{i, i, std::string(64 << 10, 'x')});
  REQUIRE(journal->append(records));
  CHECK(faults::check_journal(*disk.look("j"), 0).frames == 1 + 48 / 2); // two and their heads
}

TEST_CASE("journal: after a sync that failed it takes nothing any more") {
  faults::simulated_disk disk;
  auto journal = journal_file::open(disk, "j", print, {});
  REQUIRE(journal);
  disk.fail_sync_at = 2; // behind those of magic and opening
  CHECK(journal->append({done_record{1, 1, ""}}).error().code == errc::cannot_write);
  CHECK_FALSE(journal->sound());
  CHECK(journal->append({done_record{2, 2, ""}}).error().code == errc::cannot_write);
  CHECK_FALSE(disk.durable("j"));
  const auto seen = read_journal(disk, "j"); // shows the record, which is not on the disk
  REQUIRE(seen);
  CHECK(seen->done.size() == 1);
  REQUIRE(journal_file::open(disk, "j", print, seen->end));
  CHECK(disk.durable("j")); // a resume puts there what it read
}

TEST_CASE("journal: zeros or garbage at the end, as a power cut leaves them, are cut off") {
  const tests::temporary_folder folder;
  write_three(folder / "j");
  const auto tail = GENERATE(std::string(4096, '\0'), std::string(5, '\0'), std::string(300, 'g'));
  std::ofstream(folder / "j", std::ios::binary | std::ios::app) << tail;
  const auto content = read_journal(folder / "j");
  REQUIRE(content);
  CHECK(content->done.size() == 3);
  CHECK(content->end.bytes == std::filesystem::file_size(folder / "j") - tail.size());
}

TEST_CASE("journal: only an empty file, or one that begins as a journal, is ours") {
  const tests::temporary_folder folder;
  const auto holds = [&](const std::string& text) {
    std::ofstream(folder / "j", std::ios::binary) << text;
    return is_journal(folder / "j");
  };
  CHECK(holds(""));
  CHECK(holds("VIVA"));
  CHECK_FALSE(holds("VIVALDI, four seasons"));
  CHECK_FALSE(holds("diary"));
  write_three(folder / "mine");
  CHECK(is_journal(folder / "mine"));
}

TEST_CASE("journal: the difference between two fingerprints is named") {
  CHECK(difference(print, print).empty());
  auto other = print;
  other["method"] = "int8";
  CHECK(difference(print, other).find("method: the journal has 'nf4', now asked 'int8'") == 0);
  other = print;
  other["layout"] = "awq";
  CHECK(difference(print, other) == "layout is new");
  CHECK(difference(other, print) == "layout is gone");
}
