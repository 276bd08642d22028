#pragma once

// Names from files, made fit for a line of text: they are untrusted, and a terminal obeys control
// characters.

#include <filesystem>
#include <string>
#include <string_view>

namespace viva::formats {

/// `name` between single quotes; control characters, quotes, backslashes and bytes that are no
/// printable ASCII or well-formed UTF-8 as \xNN, cut after 200 bytes.
std::string shown(std::string_view name);
std::string shown(const std::filesystem::path& path);
inline std::string shown(const std::string& name) { // a string is both of the above
  return shown(std::string_view(name));
}

/// The same for a table or a whole line: no quotes, not cut, and what is printable already, quotes
/// and backslashes among it, stays as it is. Doing it twice changes nothing.
std::string printable(std::string_view text);

} // namespace viva::formats
