#include "formats/scale_note.hpp"

#include "formats/json.hpp"
#include "formats/shown.hpp"
#include "kernels/convert.hpp"

#include <charconv>

namespace viva::formats {

namespace {

using json = nlohmann::json;

std::optional<std::vector<std::uint64_t>> counts_of(const json& note) {
  const auto found = note.find("scales");
  if (found == note.end() || !found->is_array())
    return std::nullopt;
  std::vector<std::uint64_t> counts;
  for (const auto& count : *found) {
    if (!count.is_number_unsigned())
      return std::nullopt;
    counts.push_back(count.get<std::uint64_t>());
  }
  return counts;
}

/// One set out of its digits; null where they are no positive numbers.
scale_set set_of(std::string_view digits) {
  auto made = std::make_shared<std::vector<float>>();
  made->reserve(digits.size() / scale_digits);
  for (; !digits.empty(); digits.remove_prefix(scale_digits)) {
    std::uint32_t bits = 0;
    const auto* end = digits.data() + scale_digits;
    const auto [rest, problem] = std::from_chars(digits.data(), end, bits, 16);
    const auto scale = kernels::float_of(bits);
    if (problem != std::errc{} || rest != end || !kernels::is_finite(scale) || scale <= 0)
      return nullptr;
    made->push_back(scale);
  }
  return made;
}

/// The sets one behind the other; none where lengths or digits do not fit.
std::optional<std::vector<scale_set>> sets_of(const std::vector<std::uint64_t>& counts,
                                              std::string_view digits) {
  std::vector<scale_set> sets;
  for (const auto count : counts) {
    if (count > digits.size() / scale_digits)
      return std::nullopt;
    sets.push_back(set_of(digits.substr(0, count * scale_digits)));
    if (!sets.back())
      return std::nullopt;
    digits.remove_prefix(count * scale_digits);
  }
  return digits.empty() ? std::optional(std::move(sets)) : std::nullopt;
}

/// False where `key` is there and names no set.
bool take_set(const json& from, const char* key, const std::vector<scale_set>& sets,
              scale_set& out) {
  const auto found = from.find(key);
  if (found == from.end())
    return true;
  if (!found->is_number_unsigned() || found->get<std::uint64_t>() >= sets.size())
    return false;
  out = sets[found->get<std::size_t>()];
  return true;
}

bool take_plus(const json& from, float& out) {
  const auto found = from.find("plus");
  if (found == from.end())
    return true;
  out = found->is_number() ? found->get<float>() : -1.0f;
  return out == 0.0f || out == 1.0f;
}

} // namespace

std::string scales_text(std::span<const float> scales) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  text.reserve(scales.size() * scale_digits);
  for (const auto scale : scales)
    for (int shift = 28; shift >= 0; shift -= 4)
      text.push_back(digits[kernels::bits_of(scale) >> shift & 15u]);
  return text;
}

std::size_t scales_place(std::string_view header) noexcept {
  // No text holds a bare quote, and only metadata has keys with strings of any name.
  const auto key = std::string("\"") + scales_key + "\":\"";
  return header.find(key) + key.size();
}

expected<std::map<std::string, tensor_scales>> read_scales(const std::string& note,
                                                           std::optional<std::string_view> digits,
                                                           const std::filesystem::path& file) {
  const auto parsed = parse_object<json>(note, file);
  if (!parsed)
    return tl::unexpected(parsed.error());
  const auto refuse = [&](const std::string& why) {
    return fail(errc::malformed,
                shown(file) + ": __metadata__ viva: " + why + "; quantize the source again");
  };
  const bool noted = parsed->contains("scales") || parsed->contains("scaled");
  if (!noted && !digits)
    return std::map<std::string, tensor_scales>{};
  if (!digits)
    return refuse("has scales, but " + std::string(scales_key) + " with their digits is missing");
  const auto counts = counts_of(*parsed);
  const auto scaled = parsed->find("scaled");
  if (!counts || scaled == parsed->end() || !scaled->is_object() || scaled->empty())
    return refuse("has scales, but no array scales and object scaled that tell of them");
  const auto sets = sets_of(*counts, *digits);
  if (!sets)
    return refuse("its scales are not as many positive numbers as it says");
  std::map<std::string, tensor_scales> result;
  for (const auto& [name, entry] : scaled->items()) {
    tensor_scales read;
    if (!entry.is_object() || !take_set(entry, "columns", *sets, read.columns)
        || !take_set(entry, "rows", *sets, read.rows) || !take_plus(entry, read.plus))
      return refuse("tensor " + shown(name) + " is scaled by no scales of it");
    result.emplace(name, std::move(read));
  }
  return result;
}

} // namespace viva::formats
