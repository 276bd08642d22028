#include "formats/note.hpp"

#include "formats/json.hpp"
#include "formats/shown.hpp"

namespace viva::formats {

namespace {

/// False where `from` has no text under `key`.
bool take_text(const nlohmann::json& from, const char* key, std::string& out) {
  const auto found = from.find(key);
  if (found == from.end() || !found->is_string())
    return false;
  out = found->get_ref<const std::string&>();
  return true;
}

bool take_shape(const nlohmann::json& from, std::vector<std::uint64_t>& out) {
  const auto found = from.find("shape");
  if (found == from.end() || !found->is_array())
    return false;
  for (const auto& extent : *found) {
    if (!extent.is_number_unsigned())
      return false;
    out.push_back(extent.get<std::uint64_t>());
  }
  return true;
}

nlohmann::ordered_json scaled_json(const scale_notes& scales) {
  nlohmann::ordered_json all = nlohmann::ordered_json::object();
  auto& entries = all.get_ref<nlohmann::ordered_json::object_t&>();
  entries.reserve(scales.scaled.size());
  for (const auto& [name, note] : scales.scaled) {
    nlohmann::ordered_json entry = nlohmann::ordered_json::object();
    if (note.columns)
      entry["columns"] = *note.columns;
    if (note.rows)
      entry["rows"] = *note.rows;
    if (note.plus != 0)
      entry["plus"] = note.plus;
    entries.std::vector<nlohmann::ordered_json::object_t::value_type>::emplace_back(
        name, std::move(entry)); // sorted and unique already, as below
  }
  return all;
}

} // namespace

std::string note_text(std::string_view version, const weight_notes& notes,
                      const scale_notes& scales) {
  nlohmann::ordered_json tensors = nlohmann::ordered_json::object();
  auto& entries = tensors.get_ref<nlohmann::ordered_json::object_t&>();
  entries.reserve(notes.size());
  for (const auto& [name, note] : notes)
    // sorted and unique already: appending skips the linear search of an insertion
    entries.std::vector<nlohmann::ordered_json::object_t::value_type>::emplace_back(
        name, nlohmann::ordered_json{{"method", note.method},
                                     {"shape", note.shape},
                                     {"dtype", note.dtype},
                                     {"layout", note.layout}});
  nlohmann::ordered_json note{{"version", version}, {"tensors", std::move(tensors)}};
  if (!scales.scaled.empty()) {
    note["scales"] = scales.counts;
    note["scaled"] = scaled_json(scales);
  }
  return text_of(note);
}

expected<weight_notes> read_note(const std::string& text, const std::filesystem::path& file) {
  const auto note = parse_object<nlohmann::json>(text, file);
  if (!note)
    return tl::unexpected(note.error());
  const auto tensors = note->find("tensors");
  const auto at = shown(file) + ": __metadata__ viva: ";
  if (tensors == note->end() || !tensors->is_object())
    return fail(errc::malformed, at + "has no object tensors; quantize the source again");
  weight_notes notes;
  for (const auto& [name, entry] : tensors->items()) {
    weight_note read;
    if (!entry.is_object() || !take_text(entry, "method", read.method)
        || !take_shape(entry, read.shape) || !take_text(entry, "dtype", read.dtype)
        || !take_text(entry, "layout", read.layout))
      return fail(errc::malformed,
                  at + "tensor " + shown(name)
                      + ": method, shape, dtype or layout is missing; quantize the "
                        "source again");
    notes.emplace(name, std::move(read));
  }
  return notes;
}

} // namespace viva::formats
