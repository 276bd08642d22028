#pragma once

// Settings: the table of every key, and the values in force with the place each came from.
//
// Flag over environment (VIVA_LANES, …) over file over default. The file is the one --conf or
// VIVA_CONF names, else $XDG_CONFIG_HOME/viva/viva.toml (~/.config when unset), else
// /etc/viva/viva.toml, else none. conf/viva.toml shows every key and is held to this table by a
// test.

#include "actors/job.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace viva::cli {

struct setting_row {
  enum class kind : std::uint8_t { count, bytes, word, text };
  std::string_view key; ///< As in the file; the flag has '-' for '_', the environment VIVA_KEY.
  kind what = kind::count;
  std::string_view standard;      ///< The default, as a person writes it.
  std::uint64_t min = 0, max = 0; ///< Of a count or of bytes, inclusive.
  std::string_view words;         ///< Of a word: what it may be, space separated.
  std::string_view meaning;
};

std::span<const setting_row> setting_rows() noexcept;

struct setting {
  const setting_row* row = nullptr;
  std::string text;         ///< As it was given.
  std::uint64_t number = 0; ///< Of a count or of bytes.
  std::string origin; ///< "flag", "environment VIVA_LANES", "file /etc/viva/viva.toml", "default"
};

struct settings {
  std::vector<setting> values; ///< One for each row, in the table's order.
  std::filesystem::path file;  ///< Empty where none was read.

  const setting& at(std::string_view key) const;
  job_limits limits() const;
  nan_policy on_nan() const;
};

/// Where values may come from. Tests fill it by hand; `from_process` asks the real environment.
struct setting_sources {
  std::map<std::string, std::string> flags;       ///< By key; only what was given.
  std::map<std::string, std::string> environment; ///< Variables that begin with VIVA_.
  std::optional<std::filesystem::path> conf;      ///< From --conf.
  std::filesystem::path user_file, system_file;   ///< Read when they exist and nothing was named.

  static setting_sources from_process();
};

/// Checks every source and settles every key. `bad_option` names key, value, place and range;
/// `unreadable` and `malformed` are about the file.
expected<settings> settle(const setting_sources&);

/// "0 to 1024", "1 MiB to 1 PiB", "fail or keep".
std::string range_text(const setting_row&);

} // namespace viva::cli
