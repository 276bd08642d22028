#include "actors/journal_file.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/temporary_folder.hpp"

#include <fstream>

using namespace viva;
using namespace viva::actors;

namespace {

const std::map<std::string, std::string> print{{"job", "quantize"}, {"method", "nf4"}};

/// A journal of three records; answers the bytes of the file after each.
std::vector<std::uint64_t> write_three(const std::filesystem::path& file) {
  auto journal = journal_file::open(file, print, 0);
  REQUIRE(journal);
  std::vector<std::uint64_t> ends{std::filesystem::file_size(file)};
  for (std::uint32_t i = 0; i < 3; ++i) {
    REQUIRE(journal->append({{i, 1000u + i, std::string(i, 'x')}}));
    ends.push_back(std::filesystem::file_size(file));
  }
  return ends;
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
  auto journal = journal_file::open(folder / "j", print, torn->good_bytes);
  REQUIRE(journal);
  REQUIRE(journal->append({{7, 77, "seven"}}));
  const auto content = read_journal(folder / "j");
  REQUIRE(content);
  REQUIRE(content->done.size() == 3);
  CHECK(content->done[2].shard == 7);
}

TEST_CASE("journal: a damaged record with whole ones behind it is an error, the last one is cut") {
  const tests::temporary_folder folder;
  const auto ends = write_three(folder / "j");
  SECTION("in the middle") {
    flip(folder / "j", ends[1] + 10);
    const auto content = read_journal(folder / "j");
    REQUIRE_FALSE(content);
    CHECK(content.error().code == errc::malformed);
  }
  SECTION("at the end") {
    flip(folder / "j", ends[2] + 10);
    const auto content = read_journal(folder / "j");
    REQUIRE(content);
    CHECK(content->done.size() == 2);
  }
}

TEST_CASE("journal: zeros or garbage at the end, as a power cut leaves them, are cut off") {
  const tests::temporary_folder folder;
  write_three(folder / "j");
  const auto tail = GENERATE(std::string(4096, '\0'), std::string(5, '\0'), std::string(300, 'g'));
  std::ofstream(folder / "j", std::ios::binary | std::ios::app) << tail;
  const auto content = read_journal(folder / "j");
  REQUIRE(content);
  CHECK(content->done.size() == 3);
  CHECK(content->good_bytes == std::filesystem::file_size(folder / "j") - tail.size());
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
