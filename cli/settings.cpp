#include "cli/settings.hpp"

#include "cli/bytes.hpp"

#include <spdlog/fmt/fmt.h>
#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include <unistd.h>

namespace viva::cli {

namespace {

using kind = setting_row::kind;

constexpr std::array<setting_row, 15> rows = {{
    {"lanes", kind::count, "0", 0, 1024, "", "executors at work at once; 0: one for each core"},
    {"max_memory", kind::bytes, "1GiB", 64ull << 20, 1ull << 50, "",
     "memory a job may use beyond the mapped source"},
    {"shard_bytes", kind::bytes, "8MiB", 1ull << 12, 1ull << 32, "",
     "most bytes of source in one ticket"},
    {"attempts", kind::count, "3", 1, 100, "",
     "lanes that may die on one shard before it runs alone, and then goes into quarantine"},
    {"on_nan", kind::word, "fail", 0, 0, "fail keep",
     "a weight with NaN or infinity ends the job, or its tensor is kept as it is"},
    {"isolation", kind::word, "process", 0, 0, "thread process",
     "what a lane is; one that is a process dies alone, whatever it dies of"},
    {"backend", kind::word, "cpu", 0, 0, "auto cpu cuda",
     "who computes: cuda takes devices, too, and says where there are none; auto those that are"},
    {"devices", kind::text, "", 0, 0, "",
     "numbers of the devices to take, with commas between; all by default"},
    {"stall_seconds", kind::count, "30", 1, 86400, "",
     "time without progress after which a lane process is killed; longer for large shards"},
    {"node_timeout", kind::count, "0", 0, 604800, "",
     "seconds without a node or lane until a job ends, resumable; 0: it waits, attention 60"},
    {"roots", kind::text, "", 0, 0, "",
     "folders below which a node reads and writes, absolute, with colons between; none by default"},
    {"scratch", kind::text, "", 0, 0, "",
     "folder where a node keeps what shards in flight read and write; a temporary one by default"},
    {"tls", kind::text, "", 0, 0, "",
     "folder with ca.pem, node.pem and node.key, for connections between nodes"},
    {"faults", kind::text, "", 0, 0, "",
     "faults to put in on purpose, with commas between; all commands refuse them but quantize and "
     "prune with --allow-faults"},
    {"log_level", kind::word, "warn", 0, 0, "trace debug info warn error off",
     "least severe line that goes to standard error"},
}};

const setting_row* find_row(std::string_view key) {
  const auto* found = std::ranges::find(rows, key, &setting_row::key);
  return found == rows.end() ? nullptr : found;
}

std::string key_list() {
  std::string keys;
  for (const auto& row : rows)
    keys += fmt::format("{}{}", keys.empty() ? "" : ", ", row.key);
  return keys;
}

std::string variable_of(const setting_row& row) {
  std::string name = "VIVA_";
  for (const char c : row.key)
    name += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

bool is_word_of(std::string_view words, std::string_view word) {
  std::istringstream in{std::string(words)};
  for (std::string each; in >> each;)
    if (each == word)
      return true;
  return false;
}

/// The value of a row from its text, or why not, naming the key, where it was said, and the range.
expected<setting> check(const setting_row& row, std::string text, std::string origin) {
  const auto refuse = [&] {
    return fail(errc::bad_option, fmt::format("{} = '{}' ({}) is not in its range: {}", row.key,
                                              text, origin, range_text(row)));
  };
  setting result{&row, text, 0, origin};
  if (row.what == kind::text)
    return result;
  if (row.what == kind::word) {
    if (text.find(' ') != std::string::npos || !is_word_of(row.words, text))
      return refuse();
    return result;
  }
  if (row.what == kind::bytes) {
    const auto bytes = parse_bytes(text);
    if (!bytes)
      return refuse();
    result.number = *bytes;
  } else {
    const auto* const end = text.data() + text.size();
    const auto [rest, problem] = std::from_chars(text.data(), end, result.number);
    if (problem != std::errc{} || rest != end)
      return refuse();
  }
  if (result.number < row.min || result.number > row.max)
    return refuse();
  return result;
}

expected<std::string> text_in(const std::filesystem::path& file) {
  std::error_code ignored;
  if (std::filesystem::is_directory(file, ignored))
    return fail(errc::bad_option,
                fmt::format("{}: is a folder; name a settings file with --conf or "
                            "VIVA_CONF",
                            file.string()));
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  if (in && in.peek() != std::ifstream::traits_type::eof())
    text << in.rdbuf();
  if (in.bad() || !in.is_open())
    return fail(
        errc::unreadable,
        fmt::format("{}: cannot be read ({}); name a readable file with --conf or VIVA_CONF",
                    file.string(), std::strerror(errno)));
  return text.str();
}

/// Key and value of every line of the file, as text.
expected<std::map<std::string, std::string>> read_file(const std::filesystem::path& file) {
  std::map<std::string, std::string> found;
  const auto whole = text_in(file);
  if (!whole)
    return tl::make_unexpected(whole.error());
  toml::table table;
  try {
    table = toml::parse(*whole, file.string()); // throws: a door's edge
  } catch (const toml::parse_error& problem) {
    return fail(errc::malformed, fmt::format("{}:{}: {}", file.string(),
                                             problem.source().begin.line, problem.description()));
  }
  for (const auto& [key_node, node] : table) {
    const std::string key(key_node.str());
    if (find_row(key) == nullptr)
      return fail(errc::bad_option, fmt::format("{}: unknown key '{}'; there are {}", file.string(),
                                                key, key_list()));
    if (const auto* text = node.as_string())
      found[key] = text->get();
    else if (const auto* number = node.as_integer())
      found[key] = std::to_string(number->get());
    else
      return fail(errc::bad_option, fmt::format("{}: {} must be a number or a string: {}",
                                                file.string(), key, range_text(*find_row(key))));
  }
  return found;
}

/// The file to read, empty for none. One that was named must exist; one in a usual place is read
/// where it can be seen, and then must be readable.
std::filesystem::path choose_file(const setting_sources& from) {
  const auto variable = from.environment.find("VIVA_CONF");
  if (from.conf)
    return *from.conf;
  if (variable != from.environment.end() && !variable->second.empty())
    return variable->second;
  std::error_code ignored;
  for (const auto& file : {from.user_file, from.system_file})
    if (!file.empty() && std::filesystem::exists(file, ignored))
      return file;
  return {};
}

expected<void> check_variables(const setting_sources& from) {
  for (const auto& [name, value] : from.environment)
    if (name != "VIVA_CONF"
        && std::ranges::none_of(rows, [&](const auto& row) { return variable_of(row) == name; }))
      return fail(errc::bad_option,
                  fmt::format("environment {}: unknown; settings are {}", name, key_list()));
  return {};
}

} // namespace

std::span<const setting_row> setting_rows() noexcept {
  return rows;
}

std::string range_text(const setting_row& row) {
  if (row.what == kind::count)
    return fmt::format("{} to {}", row.min, row.max);
  if (row.what == kind::bytes)
    return fmt::format("{} to {}", format_bytes(row.min), format_bytes(row.max));
  if (row.what == kind::text)
    return "any text";
  std::string text;
  for (const char c : row.words)
    text += c == ' ' ? std::string(" or ") : std::string(1, c);
  return text;
}

const setting& settings::at(std::string_view key) const {
  for (const auto& value : values)
    if (value.row->key == key)
      return value;
  throw std::logic_error(fmt::format("no setting '{}'", key));
}

job_limits settings::limits() const {
  return {.lanes = static_cast<std::uint32_t>(at("lanes").number),
          .memory_bytes_max = at("max_memory").number,
          .shard_bytes_max = at("shard_bytes").number,
          .attempts_max = static_cast<std::uint32_t>(at("attempts").number),
          .lanes_are = at("isolation").text == "process" ? isolation::process : isolation::thread,
          .stall_seconds = static_cast<std::uint32_t>(at("stall_seconds").number),
          .node_timeout_seconds = static_cast<std::uint32_t>(at("node_timeout").number),
          .tls = at("tls").text};
}

nan_policy settings::on_nan() const {
  return at("on_nan").text == "keep" ? nan_policy::keep : nan_policy::fail;
}

setting_sources setting_sources::from_process() {
  setting_sources from;
  for (char** each = environ; each != nullptr && *each != nullptr; ++each) {
    const std::string_view line = *each;
    const auto equals = line.find('=');
    if (line.starts_with("VIVA_") && equals != std::string_view::npos)
      from.environment.emplace(line.substr(0, equals), line.substr(equals + 1));
  }
  if (const char* xdg = std::getenv("XDG_CONFIG_HOME"); xdg != nullptr && *xdg != '\0')
    from.user_file = std::filesystem::path(xdg) / "viva/viva.toml";
  else if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0')
    from.user_file = std::filesystem::path(home) / ".config/viva/viva.toml";
  from.system_file = "/etc/viva/viva.toml";
  return from;
}

expected<settings> settle(const setting_sources& from) {
  if (auto known = check_variables(from); !known)
    return tl::make_unexpected(known.error());
  settings result;
  result.file = choose_file(from);
  std::map<std::string, std::string> in_file;
  if (!result.file.empty()) {
    auto read = read_file(result.file);
    if (!read)
      return tl::make_unexpected(read.error());
    in_file = std::move(*read);
  }
  for (const auto& row : rows) {
    // Every place is checked, so a bad line is refused even where a flag overrules it.
    auto value = check(row, std::string(row.standard), "default");
    const auto overrule = [&](const auto& map, const std::string& name, std::string origin) {
      if (const auto found = map.find(name); value && found != map.end())
        value = check(row, found->second, std::move(origin));
    };
    overrule(in_file, std::string(row.key), fmt::format("file {}", result.file.string()));
    overrule(from.environment, variable_of(row), fmt::format("environment {}", variable_of(row)));
    overrule(from.flags, std::string(row.key), "flag");
    if (!value)
      return tl::make_unexpected(value.error());
    result.values.push_back(std::move(*value));
  }
  return result;
}

} // namespace viva::cli
