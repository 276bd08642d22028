#include "cli/settings.hpp"

#include "tests/support/catch.hpp"

#include <spdlog/fmt/fmt.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include <unistd.h>

using namespace viva;
using namespace viva::cli;

namespace {

struct scratch_file {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / fmt::format("viva_settings_{}.toml", ::getpid());
  explicit scratch_file(const std::string& text) {
    std::ofstream(path) << text;
  }
  std::string origin() const {
    std::string text = "file ";
    text += path.string();
    return text;
  }
  ~scratch_file() {
    std::filesystem::remove(path);
  }
};

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("settings: defaults are those of the job limits", "[cli]") {
  const auto in_force = settle({}).value();
  const auto limits = in_force.limits();
  const job_limits standard;
  CHECK(limits.lanes == standard.lanes);
  CHECK(limits.memory_bytes_max == standard.memory_bytes_max);
  CHECK(limits.shard_bytes_max == standard.shard_bytes_max);
  CHECK(limits.attempts_max == standard.attempts_max);
  CHECK(in_force.on_nan() == nan_policy::fail);
  CHECK(in_force.at("lanes").origin == "default");
}

TEST_CASE("settings: flag beats environment beats file beats default", "[cli]") {
  const scratch_file file("lanes = 2\nattempts = 5\nmax_memory = \"2GiB\"\n");
  setting_sources from;
  from.conf = file.path;
  from.environment = {{"VIVA_LANES", "3"}, {"VIVA_MAX_MEMORY", "3GiB"}};
  from.flags = {{"lanes", "4"}};
  const auto in_force = settle(from).value();
  CHECK(in_force.at("lanes").number == 4);
  CHECK(in_force.at("lanes").origin == "flag");
  CHECK(in_force.at("max_memory").number == 3ull << 30);
  CHECK(in_force.at("max_memory").origin == "environment VIVA_MAX_MEMORY");
  CHECK(in_force.at("attempts").number == 5);
  CHECK(in_force.at("attempts").origin == file.origin());
  CHECK(in_force.at("on_nan").origin == "default");
}

TEST_CASE("settings: --conf beats VIVA_CONF beats the user's file beats the system's", "[cli]") {
  const scratch_file file("lanes = 2\n");
  setting_sources from;
  from.system_file = "/nonexistent/viva.toml";
  CHECK(settle(from).value().file.empty());
  from.user_file = file.path;
  CHECK(settle(from).value().at("lanes").number == 2);
  from.environment["VIVA_CONF"] = "/nonexistent/viva.toml";
  CHECK(settle(from).error().code == errc::unreadable);
  from.conf = file.path;
  CHECK(settle(from).value().file == file.path);
}

TEST_CASE("settings: an unknown key is refused by name, in file and environment", "[cli]") {
  const scratch_file file("lane = 2\n");
  setting_sources from;
  from.conf = file.path;
  const auto refused = settle(from);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::bad_option);
  CHECK(holds(refused.error().text, "'lane'"));

  setting_sources misspelt;
  misspelt.environment = {{"VIVA_LANE", "2"}};
  REQUIRE_FALSE(settle(misspelt));
  CHECK(holds(settle(misspelt).error().text, "VIVA_LANE"));
}

TEST_CASE("settings: a value out of its range is refused with key, place and range", "[cli]") {
  struct row {
    const char *key, *text;
  };
  const row rows[] = {{"lanes", "1025"},     {"lanes", "-1"},         {"lanes", "two"},
                      {"lanes", ""},         {"max_memory", "63MiB"}, {"max_memory", "much"},
                      {"shard_bytes", "1B"}, {"attempts", "0"},       {"attempts", "3.5"},
                      {"on_nan", "zero"},    {"on_nan", ""},          {"log_level", "fail keep"}};
  for (const auto& [key, text] : rows) {
    INFO(key << " = " << text);
    setting_sources from;
    from.flags = {{key, text}};
    const auto refused = settle(from);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == errc::bad_option);
    CHECK(holds(refused.error().text, key));
    CHECK(holds(refused.error().text, "flag"));
  }
}

TEST_CASE("settings: a bad line of the file is refused even where a flag overrules it", "[cli]") {
  const scratch_file file("attempts = 0\n");
  setting_sources from;
  from.conf = file.path;
  from.flags = {{"attempts", "2"}};
  CHECK_FALSE(settle(from));
}

TEST_CASE("settings: a file that is no TOML is refused with its line", "[cli]") {
  const scratch_file file("lanes = 2\nlanes = = 3\n");
  setting_sources from;
  from.conf = file.path;
  const auto refused = settle(from);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::malformed);
  CHECK(holds(refused.error().text, ":2:"));
}

TEST_CASE("settings: conf/viva.toml shows every key with its default and no other", "[cli]") {
  std::ifstream in(std::filesystem::path(VIVA_SOURCE_DIR) / "conf/viva.toml");
  REQUIRE(in);
  // Uncommented, the file must parse and change nothing.
  std::string text;
  std::size_t keys = 0;
  for (std::string line; std::getline(in, line);) {
    const bool setting = line.size() > 1 && line[0] == '#' && line[1] != ' ';
    keys += setting ? 1 : 0;
    text += (setting ? line.substr(1) : line) + '\n';
  }
  CHECK(keys == setting_rows().size());
  const scratch_file file(text);
  setting_sources from;
  from.conf = file.path;
  const auto read = settle(from);
  REQUIRE(read);
  const auto standard = settle({}).value();
  for (const auto& row : setting_rows()) {
    INFO(row.key);
    CHECK(read->at(row.key).origin == file.origin());
    CHECK(read->at(row.key).text == standard.at(row.key).text);
  }
}

TEST_CASE("settings: a folder is no settings file, and a usual place is no excuse", "[cli]") {
  const auto folder = std::filesystem::temp_directory_path();
  setting_sources from;
  from.user_file = folder;
  REQUIRE_FALSE(settle(from));
  CHECK(holds(settle(from).error().text, folder.string()));
  from.conf = folder;
  CHECK(settle(from).error().code == errc::bad_option);
  from.conf = "/proc/self/mem"; // opens, and cannot be read at 0
  CHECK(settle(from).error().code == errc::unreadable);
  CHECK(holds(settle(from).error().text, "/proc/self/mem"));
}
