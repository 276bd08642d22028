#include "formats/shown.hpp"

#include <algorithm>

namespace viva::formats {

namespace {

constexpr std::size_t shown_bytes_max = 200;

constexpr bool continues(char c) noexcept {
  return (static_cast<unsigned char>(c) & 0xC0u) == 0x80;
}

/// True where `second` follows `lead` in the shortest spelling of a character.
constexpr bool well_formed(unsigned char lead, unsigned char second) noexcept {
  return (lead != 0xE0 || second >= 0xA0) && (lead != 0xED || second < 0xA0)
         && (lead != 0xF0 || second >= 0x90) && (lead != 0xF4 || second < 0x90);
}

/// True for characters beyond ASCII that a terminal obeys: U+0080 … U+009F control it as well,
/// U+061C, U+200B … U+200F, U+2028 … U+202E and U+2060 … U+206F hide text or turn it around.
constexpr bool obeyed(std::string_view c) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(c[i]); };
  if (byte(0) == 0xC2 || byte(0) == 0xD8)
    return byte(0) == 0xC2 ? byte(1) < 0xA0 : byte(1) == 0x9C;
  if (byte(0) != 0xE2)
    return false;
  const auto third = byte(2);
  return (byte(1) == 0x80 && ((third >= 0x8B && third <= 0x8F) || (third >= 0xA8 && third <= 0xAE)))
         || (byte(1) == 0x81 && third >= 0xA0 && third <= 0xAF);
}

/// Bytes of the character at the front of `text` that may be shown as they are; 0 where none may.
std::size_t showable(std::string_view text) noexcept {
  const auto lead = static_cast<unsigned char>(text.front());
  if (lead < 0x80)
    return lead >= 0x20 && lead != 0x7F ? 1 : 0;
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length)
    return 0;
  for (std::size_t i = 1; i < length; ++i)
    if (!continues(text[i]))
      return 0;
  const auto second = static_cast<unsigned char>(text[1]);
  return well_formed(lead, second) && !obeyed(text) ? length : 0;
}

/// `name` with every byte escaped that may not be shown, or that is one of `marks`.
std::string escaped(std::string_view name, std::string_view marks) {
  static constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  while (!name.empty()) {
    const auto length = showable(name);
    if (length > 0 && marks.find(name.front()) == std::string_view::npos) {
      text += name.substr(0, length);
    } else {
      const auto byte = static_cast<unsigned char>(name.front());
      text.append("\\x").append(1, digits[byte >> 4]).append(1, digits[byte & 15]);
    }
    name.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return text;
}

} // namespace

std::string printable(std::string_view text) {
  return escaped(text, {});
}

std::string shown(std::string_view name) {
  const bool cut = name.size() > shown_bytes_max;
  return "'" + escaped(name.substr(0, shown_bytes_max), "'\\") + (cut ? "…'" : "'");
}

std::string shown(const std::filesystem::path& path) {
  return shown(std::string_view(path.native()));
}

} // namespace viva::formats
