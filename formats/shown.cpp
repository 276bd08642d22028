#include "formats/shown.hpp"

namespace viva::formats {

namespace {

constexpr std::size_t shown_bytes_max = 200;

constexpr bool continues(char c) noexcept {
  return (static_cast<unsigned char>(c) & 0xC0u) == 0x80;
}

/// Bytes of the character at the front of `text` that may be shown as they are; 0 where none may.
std::size_t showable(std::string_view text) noexcept {
  const auto lead = static_cast<unsigned char>(text.front());
  if (lead < 0x80)
    return lead >= 0x20 && lead != 0x7F && lead != '\'' && lead != '\\' ? 1 : 0;
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length)
    return 0;
  for (std::size_t i = 1; i < length; ++i)
    if (!continues(text[i]))
      return 0;
  const auto second = static_cast<unsigned char>(text[1]);
  // U+0080 … U+009F control a terminal as well, U+200E … U+2069 turn its text around.
  if ((lead == 0xC2 && second < 0xA0) || (lead == 0xE2 && (second == 0x80 || second == 0x81)))
    return 0;
  return length;
}

} // namespace

std::string shown(std::string_view name) {
  static constexpr std::string_view digits = "0123456789abcdef";
  std::string text = "'";
  const bool cut = name.size() > shown_bytes_max;
  name = name.substr(0, shown_bytes_max);
  while (!name.empty()) {
    const auto length = showable(name);
    if (length > 0) {
      text += name.substr(0, length);
    } else {
      const auto byte = static_cast<unsigned char>(name.front());
      text.append("\\x").append(1, digits[byte >> 4]).append(1, digits[byte & 15]);
    }
    name.remove_prefix(length > 0 ? length : 1);
  }
  return text + (cut ? "…'" : "'");
}

std::string shown(const std::filesystem::path& path) {
  return shown(std::string_view(path.native()));
}

} // namespace viva::formats
