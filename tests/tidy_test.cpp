// The law book: who may include whom, how long things may be, what no file may hold.
//
// The rules are functions from a file's path and text to complaints, so each is also shown to fail
// on a sample that breaks it.

#include "kernels/registry.hpp"

#include "tests/support/catch.hpp"
#include "tests/tidy_functions.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;

struct file {
  std::string path; ///< From the root: "kernels/nf4.hpp".
  std::string text;

  std::string folder() const {
    return path.substr(0, path.find('/'));
  }
  std::string name() const {
    return path.substr(path.rfind('/') + 1);
  }
  bool ends(std::string_view suffix) const {
    return path.ends_with(suffix);
  }
  bool header() const {
    return ends(".hpp") || ends(".cuh");
  }
};

using complaints = std::vector<std::string>;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);)
    lines.push_back(line);
  return lines;
}

bool lists(std::string_view words, std::string_view word) {
  return (" "s + std::string(words) + " ").find(" "s + std::string(word) + " ")
         != std::string::npos;
}

// ---- who may include whom
// -------------------------------------------------------------------------

struct folder_law {
  std::string_view folder, ours, theirs; ///< Folders and library families it may include.
};

constexpr folder_law laws[] = {
    {"kernels", "kernels", "hwy tl"},
    {"formats", "formats kernels", "nlohmann tl posix"},
    {"supervision", "supervision", "caf nlohmann spdlog tl posix"},
    {"actors", "actors supervision formats kernels", "caf spdlog nlohmann xxhash tl posix"},
    {"cli", "cli bench actors formats kernels", "CLI nlohmann spdlog toml tl posix"},
};

struct file_law {
  std::string_view path, family; ///< Files whose path begins so may include the family, too…
  bool allowed;                  ///< …or may not, although their folder may.
};

constexpr file_law exceptions[] = {
    {"supervision/policy", "caf", false}, {"supervision/policy", "spdlog", false},
    {"actors/plan", "caf", false},        {"actors/ledger", "caf", false},
    {"actors/job.hpp", "caf", false},     {"supervision/house", "boost", true},
    {"supervision/flat_table", "boost", true},
    {"actors/job_policy", "caf", false},  {"actors/findings", "caf", false},
    {"actors/journal_", "caf", false},    {"actors/disk", "caf", false},
    {"actors/shard_deaths", "caf", false}, {"actors/lane_trouble", "caf", false},
    {"actors/node/bulk", "boost", true},  {"actors/http", "boost", true},
    {"actors/node/network", "boost", true}, {"actors/node/stream", "boost", true},
    {"actors/node/tls", "boost", true},   {"actors/node/tls", "openssl", true},
    {"actors/node/certificates", "openssl", true},
    {"actors/node/liveness_policy", "boost", false}, {"actors/node/liveness", "boost", true},
    {"actors/node/liveness", "caf", false}, {"actors/node/listener", "boost", true},
    {"actors/node/bulk", "caf", false},   {"actors/node/stream", "caf", false},
    {"kernels/device.", "cuda", true},    {"actors/selection.cpp", "re2", true},
    {"kernels/bf16_unit.cpp", "posix", true}, // asks Linux for the registers of tiles
    {"actors/pipeline/exposition.cpp", "prometheus", true},
    {"supervision/channel", "caf", false}, {"supervision/pulse", "caf", false},
    {"supervision/ward", "caf", false},
};

/// The library family of an angle include; "std" for the standard library.
std::string family_of(const std::string& include) {
  static const std::pair<std::string_view, std::string_view> families[] = {
      {"caf/", "caf"},       {"spdlog/", "spdlog"},   {"nlohmann/", "nlohmann"}, {"hwy/", "hwy"},
      {"boost/", "boost"},   {"toml++/", "toml"},     {"CLI/", "CLI"},           {"tl/", "tl"},
      {"xxhash", "xxhash"},  {"openssl/", "openssl"}, {"cuda", "cuda"},          {"cub/", "cuda"},
      {"catch2/", "catch2"}, {"rapidcheck", "tests"}, {"fmt/", "spdlog"},        {"sys/", "posix"},
      {"linux/", "posix"},   {"re2/", "re2"},         {"prometheus/", "prometheus"}};
  for (const auto& [prefix, family] : families)
    if (include.starts_with(prefix))
      return std::string(family);
  return include.ends_with(".h") ? "posix" : "std";
}

bool may_include(const file& from, const folder_law& law, const std::string& family) {
  if (family == "std")
    return true;
  if (from.folder() == "kernels" && (from.ends(".cu") || from.ends(".cuh")) && family == "cuda")
    return true;
  if (family == "hwy" && !from.ends(".cpp") && !from.ends("-inl.hpp"))
    return false; // a header that drags Highway along compiles it into everybody
  if (family == "toml" && from.path != "cli/settings.cpp")
    return false;
  for (const auto& exception : exceptions)
    if (from.path.starts_with(exception.path) && exception.family == family)
      return exception.allowed;
  return lists(law.theirs, family);
}

complaints include_law(const file& from) {
  const auto* law = std::ranges::find(laws, from.folder(), &folder_law::folder);
  complaints found;
  if (law == std::end(laws))
    return found; // bench and tests know everybody
  for (const auto& line : lines_of(from.text)) {
    if (!line.starts_with("#include "))
      continue;
    const char close = line[9] == '<' ? '>' : '"';
    const auto name = line.substr(10, line.find(close, 10) - 10);
    // Work that owns no life takes no thread, lock or file that it was not given.
    const bool forbidden_std =
        from.folder() == "kernels"
        && lists("thread mutex fstream iostream filesystem condition_variable "
                 "future shared_mutex",
                 name);
    const bool fine = close == '>' ? may_include(from, *law, family_of(name)) && !forbidden_std
                                   : name.ends_with("-inl.hpp") || name == from.path
                                         || lists(law->ours, name.substr(0, name.find('/')));
    if (!fine)
      found.push_back(from.path + " may not include " + name);
  }
  return found;
}

// ---- how long, and what no file may hold
// ----------------------------------------------------------

/// Columns as a reader counts them: code points, not bytes.
std::size_t columns_of(const std::string& line) {
  return static_cast<std::size_t>(std::ranges::count_if(
      line, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

complaints length_law(const file& each) {
  complaints found;
  const auto lines = lines_of(each.text);
  // A *-inl.hpp holds bodies, compiled once for each instruction set: a source by another name.
  const std::size_t lines_max = each.header() && !each.name().ends_with("-inl.hpp") ? 150 : 400;
  if (lines.size() > lines_max)
    found.push_back(each.path + " has " + std::to_string(lines.size()) + " lines");
  for (std::size_t i = 0; i < lines.size(); ++i)
    if (columns_of(lines[i]) > 100)
      found.push_back(each.path + ":" + std::to_string(i + 1) + " is longer than 100 columns");
  for (const auto& function : viva::tests::functions_of(each.text))
    if (function.lines > 70)
      found.push_back(each.path + ":" + std::to_string(function.line) + " a function of "
                      + std::to_string(function.lines) + " lines");
  return found;
}

complaints word_law(const file& each) {
  complaints found;
  const auto forbid = [&](const std::string& word, bool here) {
    if (here && each.text.find(word) != std::string::npos)
      found.push_back(each.path + " holds '" + word + "'");
  };
  const bool prints = each.folder() == "cli" || each.folder() == "bench";
  // Spelled in two parts, so that this file does not hold them.
  forbid("TO"
         "DO",
         true);
  forbid("FIX"
         "ME",
         true);
  forbid("std::"
         "cout",
         !prints);
  forbid(" print"
         "f(",
         !prints);
  forbid("std::print"
         "f(",
         !prints);
  forbid("sleep"
         "_for",
         each.folder() == "tests");
  forbid("using name"
         "space",
         each.header());
  if (each.header() && !each.name().ends_with("-inl.hpp")
      && each.text.find("#pragma once") == std::string::npos)
    found.push_back(each.path + " has no #pragma once");
  for (const auto word : {"util", "common", "helper", "manager", "misc", "impl"})
    if (each.name().find(word) != std::string::npos)
      found.push_back(each.path + " has '" + word + "' in its name");
  return found;
}

// ---- the tree
// -------------------------------------------------------------------------------------

const std::filesystem::path root = VIVA_SOURCE_DIR;

std::string text_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<file> sources() {
  std::vector<file> found;
  for (const auto* folder :
       {"kernels", "formats", "supervision", "actors", "cli", "bench", "tests"})
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root / folder)) {
      const auto path = std::filesystem::relative(entry.path(), root).string();
      const file each{path, {}};
      if (each.header() || each.ends(".cpp") || each.ends(".cu"))
        found.push_back({path, text_of(entry.path())});
    }
  return found;
}

void hold_all_to(complaints (*law)(const file&)) {
  const auto all = sources();
  REQUIRE(all.size() > 50); // or the walk is broken
  for (const auto& each : all)
    for (const auto& complaint : law(each))
      FAIL_CHECK(complaint);
}

bool complains(complaints (*law)(const file&), std::string path, std::string text) {
  return !law({std::move(path), std::move(text)}).empty();
}

} // namespace

TEST_CASE("tidy: every file includes only what its folder may know", "[tidy]") {
  hold_all_to(include_law);
}

TEST_CASE("tidy: lines, functions, headers and sources keep their lengths", "[tidy]") {
  hold_all_to(length_law);
}

TEST_CASE("tidy: no file holds a word it may not", "[tidy]") {
  hold_all_to(word_law);
}

TEST_CASE("tidy: every method of the registry stands in the README's table", "[tidy]") {
  const auto readme = text_of(root / "README.md");
  for (const auto& method : viva::kernels::methods()) {
    INFO(method.name);
    CHECK(readme.find("| `" + std::string(method.name) + "` |") != std::string::npos);
  }
}

TEST_CASE("tidy: every folder has its map", "[tidy]") {
  for (const auto* folder :
       {"kernels", "formats", "supervision", "actors", "cli", "bench", "tests", "conf"}) {
    INFO(folder);
    CHECK(std::filesystem::exists(root / folder / "README.md"));
  }
}

TEST_CASE("tidy: a forbidden include is caught in every folder", "[tidy]") {
  const auto refused = [](std::string path, const std::string& include) {
    return complains(include_law, std::move(path), "#include " + include + "\n");
  };
  CHECK(refused("kernels/nf4.cpp", "<caf/all.hpp>"));
  CHECK(refused("kernels/nf4.cpp", "<thread>"));
  CHECK(refused("kernels/nf4.cpp", "<unistd.h>"));
  CHECK(refused("kernels/nf4.cpp", "\"formats/safetensors.hpp\""));
  CHECK(refused("kernels/nf4.hpp", "<hwy/highway.h>"));
  CHECK(refused("kernels/nf4.cpp", "<cuda_runtime.h>"));
  CHECK(refused("formats/gguf.cpp", "<caf/actor.hpp>"));
  CHECK(refused("formats/gguf.cpp", "\"actors/job.hpp\""));
  CHECK(refused("supervision/supervisor.cpp", "\"kernels/error.hpp\""));
  CHECK(refused("supervision/policy.hpp", "<caf/all.hpp>"));
  CHECK(refused("actors/ledger.hpp", "<caf/all.hpp>"));
  CHECK(refused("actors/plan_read.cpp", "<caf/all.hpp>"));
  CHECK(refused("actors/job_policy.cpp", "<caf/all.hpp>"));
  CHECK(refused("actors/lane.cpp", "<boost/asio.hpp>"));
  CHECK(refused("actors/node/wire.cpp", "<boost/asio.hpp>"));
  CHECK(refused("actors/node/bulk_server.cpp", "<caf/all.hpp>"));
  CHECK(refused("actors/node/stream.cpp", "<openssl/ssl.h>"));
  CHECK(refused("supervision/supervisor.cpp", "<boost/asio.hpp>"));
  CHECK(refused("supervision/channel.cpp", "<caf/all.hpp>"));
  CHECK(refused("actors/plan_quantize.cpp", "<re2/re2.h>"));
  CHECK(refused("actors/lane.cpp", "\"cli/exit_code.hpp\""));
  CHECK(refused("cli/quantize.cpp", "<toml++/toml.h>"));
  CHECK(refused("cli/quantize.cpp", "<caf/all.hpp>"));
}

TEST_CASE("tidy: what a folder may know is let through", "[tidy]") {
  const auto allowed = [](std::string path, const std::string& include) {
    return !complains(include_law, std::move(path), "#include " + include + "\n");
  };
  CHECK(allowed("kernels/nf4.cpp", "<hwy/highway.h>"));
  CHECK(allowed("kernels/nf4.cu", "<cuda_runtime.h>"));
  CHECK(allowed("kernels/team.cuh", "<cuda_runtime.h>"));
  CHECK(allowed("kernels/error.hpp", "<tl/expected.hpp>"));
  CHECK(allowed("formats/gguf.cpp", "\"kernels/registry.hpp\""));
  CHECK(allowed("supervision/supervisor.cpp", "<caf/all.hpp>"));
  CHECK(allowed("actors/conductor.cpp", "\"supervision/child.hpp\""));
  CHECK(allowed("actors/http.cpp", "<boost/asio.hpp>"));
  CHECK(allowed("actors/selection.cpp", "<re2/re2.h>"));
  CHECK(allowed("cli/settings.cpp", "<toml++/toml.h>"));
  CHECK(allowed("tests/cli/gate_test.cpp", "\"cli/gate.hpp\""));
}

TEST_CASE("tidy: too long a line, file or function is caught", "[tidy]") {
  const std::string line(101, 'x');
  CHECK(complains(length_law, "cli/a.cpp", line));
  CHECK_FALSE(complains(length_law, "cli/a.cpp", line.substr(1)));
  std::string umlauts;
  for (int i = 0; i < 100; ++i)
    umlauts += "\xC3\xA4"; // 200 bytes, 100 columns
  CHECK_FALSE(complains(length_law, "cli/a.cpp", umlauts));
  const auto lines = [](int count) {
    std::string text;
    for (int i = 0; i < count; ++i)
      text += "x;\n";
    return text;
  };
  CHECK(complains(length_law, "cli/a.hpp", lines(151)));
  CHECK_FALSE(complains(length_law, "cli/a.cpp", lines(151)));
  CHECK(complains(length_law, "cli/a.cpp", lines(401)));
  CHECK(complains(length_law, "cli/a.cpp", "int f() {\n" + lines(69) + "}\n"));
  CHECK_FALSE(complains(length_law, "cli/a.cpp", "int f() {\n" + lines(68) + "}\n"));
}

TEST_CASE("tidy: functions are told from namespaces, types, tables and lambdas", "[tidy]") {
  const auto count = [](const char* text) { return viva::tests::functions_of(text).size(); };
  CHECK(count("namespace a {\nstruct b {\n  int c() const {\n    return 1;\n  }\n};\n}\n") == 1);
  CHECK(count("constexpr int table[] = {\n  f(1),\n};\n") == 0);
  CHECK(count("template <class T>\nvoid f(T x) {\n  if (x) {\n    [] { return 1; }();\n  }\n}\n")
        == 1);
  CHECK(
      count("const auto text = R\"(void f() {)\";\n// void g() {\n/* void h() { */ char c = '{';\n")
      == 0);
  CHECK(count("MACRO(a)\nnamespace b {\nvoid f() {\n}\n}\n") == 1);
  const auto found = viva::tests::functions_of("\nTEST_CASE(\"a {\") {\n  x();\n}\n");
  REQUIRE(found.size() == 1);
  CHECK(found[0].line == 2);
  CHECK(found[0].lines == 3);
}

TEST_CASE("tidy: forbidden words and names are caught", "[tidy]") {
  CHECK(complains(word_law, "cli/a.cpp",
                  "// TO"
                  "DO: later"));
  CHECK(complains(word_law, "actors/a.cpp",
                  "std::"
                  "cout << 1;"));
  CHECK_FALSE(complains(word_law, "cli/a.cpp",
                        "std::"
                        "cout << 1;"));
  CHECK(complains(word_law, "cli/a.hpp",
                  "#pragma once\nusing name"
                  "space std;"));
  CHECK(complains(word_law, "cli/a.hpp", "int x;"));
  CHECK(complains(word_law, "cli/string_utils.cpp", ""));
  CHECK(complains(word_law, "tests/a_test.cpp",
                  "std::this_thread::sleep"
                  "_for(1s);"));
}
