// viva bench report from outside: every row of the report that this project answers to, in each of
// its forms.

#include "tests/cli/program.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/sanitized.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <sstream>
#include <string_view>

using namespace viva;
using tests::text_in;
namespace fs = std::filesystem;

namespace {

std::size_t count_of(std::string_view part, const std::string& text) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != text.npos; at = text.find(part, at + part.size()))
    ++found;
  return found;
}

std::size_t lines_with(const std::string& text, bool (*claim)(const std::string&)) {
  std::istringstream lines(text);
  std::size_t found = 0;
  for (std::string line; std::getline(lines, line);)
    found += claim(line);
  return found;
}

/// What the row says that holds.
std::string ours(const nlohmann::json& rows, std::string_view section, std::string_view what) {
  for (const auto& row : rows)
    if (row.at("section") == section && row.at("what") == what)
      return row.at("ours");
  return {};
}

void check_claims(const nlohmann::json& rows) {
  std::set<std::string> sections;
  std::string claimed;
  for (const auto& row : rows) {
    INFO(row);
    sections.insert(row.at("section").get<std::string>());
    claimed += row.at("claimed").get<std::string>() + "\n";
    for (const auto* key : {"what", "ours", "how"})
      CHECK_FALSE(row.at(key).get<std::string>().empty());
  }
  CHECK(sections
        == std::set<std::string>{"Compression", "Error", "SQNR", "2:4", "Stack", "Attention",
                                 "Throughput", "Features"});
  for (const auto* claim :
       {"19.98", "13.72", "6.02 N", "8.0x", "4.0x", "7.7x", "3.2x", "1.78x", "14.24x", "1.5 %",
        "1.29 %", "3.9 %", "3.6 %", "9.3 GB", "16 KB", "127 keys", "200K", "186K", "120K", "280K",
        "by OTP"}) {
    INFO(claim);
    CHECK(count_of(claim, claimed) != 0);
  }
}

void check_figures(const nlohmann::json& rows) {
  std::string held;
  for (const auto& row : rows)
    held += row.at("ours").get<std::string>() + "\n" + row.at("how").get<std::string>() + "\n";
  CHECK(count_of(" 0 wrong results", held) == 2); // lanes of threads, and of processes, killed
  CHECK(count_of("every result compared", held) != 0);
  CHECK(count_of("NOT ALL EQUAL", held) == 0);
  CHECK(count_of("not all were encoded", held) == 0);
  CHECK(ours(rows, "Compression", "int8-tensor").starts_with("4.00x FP32"));
  CHECK(ours(rows, "Compression", "70B weights in NF4").starts_with("39.4 GB"));
  CHECK(std::abs(std::stod(ours(rows, "SQNR", "nf4")) - 20.73) < 0.1);
  CHECK(std::abs(std::stod(ours(rows, "Error", "nf4")) - 3.79) < 0.1);
  const auto memory = ours(rows, "Attention", "memory at n = 1024, d = 64, causal");
  CHECK(std::stod(memory) < 1024);
  CHECK(count_of("scores would take 4096 KiB", memory) == 1);
}

/// As many rows as `rows` has.
void check_texts(const nlohmann::json& rows, const std::string& markdown,
                 const std::string& terminal) {
  const auto in_table = [](const std::string& line) { return line.starts_with("| "); };
  const auto in_terminal = [](const std::string& line) {
    return line.starts_with("  ") && line[2] != ' '; // what follows of a row stands further in
  };
  CHECK(lines_with(markdown, in_table) == rows.size() + 1); // and its head
  CHECK(lines_with(terminal, in_terminal) == rows.size());
  CHECK(count_of("claimed: ", terminal)
        == static_cast<std::size_t>(
          std::ranges::count_if(rows, [](const auto& row) { return row.at("claimed") != ""; })));
}

/// A file for each plot, with the bars of `all`.
void check_plots(const nlohmann::json& all, const fs::path& folder) {
  std::map<std::string, std::pair<std::size_t, std::size_t>> bars; // ours and claimed, by file
  for (const auto& bar : all) {
    INFO(bar);
    CHECK(bar.at("ours").get<double>() > 0);
    auto& [here, claims] = bars[bar.at("plot").get<std::string>() + ".svg"];
    ++here;
    claims += bar.contains("claimed");
  }
  CHECK(bars.size() == 5);
  std::size_t drawn = 0;
  for (const auto& file : fs::directory_iterator(folder)) {
    const auto name = file.path().filename().string(), text = text_in(file.path());
    INFO(name << "\n" << text);
    ++drawn;
    CHECK(text.starts_with("<svg "));
    CHECK(text.ends_with("</svg>\n"));
    CHECK(count_of("fill=\"#2a6fb0\"", text) == bars[name].first);
    CHECK(count_of("fill=\"#aaaaaa\"", text) == bars[name].second);
  }
  CHECK(drawn == bars.size());
}

} // namespace

TEST_CASE("bench report: every claim has its row, as JSON, as Markdown, in the terminal, drawn") {
  const tests::temporary_folder folder;
  const auto json = (folder / "j").string(), markdown = (folder / "m").string();
  const auto plots = folder / "made" / "p";
  const auto done = tests::viva({"bench", "report", "--tensors", "1000", "--lanes", "1",
                                 "--attention-keys", "1024", "--killed-seconds", "0.5", "--json",
                                 json, "--markdown", markdown, "--plots", plots.string()});
  INFO(done.out << done.err);
  REQUIRE(done.code == 0);
  const auto report = nlohmann::json::parse(text_in(json));
  for (const auto* key : {"cpu", "threads", "compiler", "commit"})
    CHECK_FALSE(report.at(key).get<std::string>().empty());
  check_claims(report.at("rows"));
  check_figures(report.at("rows"));
  check_texts(report.at("rows"), text_in(markdown), done.out);
  check_plots(report.at("bars"), plots);
}

TEST_CASE("bench report: a file that cannot be written is named, and the exit code says so") {
  if (tests::sanitized) // half a minute for what the first one has shown but for this
    return;
  const tests::temporary_folder folder;
  const auto nowhere = (folder / "none" / "j").string();
  const auto done = tests::viva({"bench", "report", "--tensors", "1000", "--lanes", "1",
                                 "--attention-keys", "64", "--killed-seconds", "0.1", "--json",
                                 nowhere});
  CHECK(done.code == 5);
  CHECK(done.err.find(nowhere + "': cannot be written: ") != done.err.npos);
}
