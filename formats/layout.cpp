#include "formats/layout.hpp"

#include "formats/dtype_names.hpp"
#include "formats/fused.hpp"
#include "formats/layout_rules.hpp"
#include "formats/note.hpp"
#include "formats/scale_folds.hpp"
#include "formats/shown.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <unordered_map>

namespace viva::formats {

namespace {

constexpr std::array<layout_rules, 5> table = {{
    {"awq", awq::tensors, awq::config, true, true, "float16", awq::fits},
    {"bitsandbytes", bitsandbytes::tensors, bitsandbytes::config, true, true},
    {"compressed-tensors", compressed_tensors::tensors, compressed_tensors::config, true, true, {},
     compressed_tensors::fits},
    {"dense", dense::tensors, dense::config, true, false},
    {"safetensors", plain_safetensors::tensors, plain_safetensors::config, false, true},
}};

constexpr auto names = [] {
  std::array<std::string_view, table.size()> all;
  std::ranges::transform(table, all.begin(), &layout_rules::name);
  return all;
}();

/// True where `word` is one of the words of `words`.
bool has_word(std::string_view words, std::string_view word) {
  while (!words.empty()) {
    const auto end = std::min(words.find(' '), words.size());
    if (words.substr(0, end) == word)
      return true;
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return false;
}

std::string position_of(const checkpoint& c, tensor_ref at) {
  const auto& file = c.files[at.file];
  return shown(file.path) + ": tensor " + shown(file.header.tensors[at.tensor].name) + ": ";
}

/// Refuses what the layout or the method cannot take.
expected<void> check(const checkpoint& c, const choice& each, const layout_rules& rules) {
  const auto layout = rules.name;
  const auto& entry = c.files[each.source.file].header.tensors[each.source.tensor];
  const auto& with = each.recipe;
  const auto at = position_of(c, each.source);
  if (!has_word(with.row->layouts, layout))
    return fail(errc::unsupported, at + "layout " + std::string(layout) + " cannot hold method "
                                       + with.name() + "; it goes to layout "
                                       + std::string(with.row->layouts)
                                       + ". One output has one layout");
  if (entry.shape.size() != 2 || entry.bytes() == 0)
    return fail(errc::bad_shape, at + "has " + std::to_string(entry.shape.size())
                                     + " dimensions; only a weight of 2, neither of them 0, can be "
                                       "quantized. Leave it out with --exclude");
  if (header_name(with.source) != entry.dtype)
    return fail(errc::unsupported, at + "has dtype " + shown(entry.dtype)
                                       + "; F32, F16 and BF16 can be quantized. Leave it out with "
                                         "--exclude");
  if (entry.shape[1] % with.cols_multiple() != 0)
    return fail(errc::bad_shape, at + "has " + std::to_string(entry.shape[1]) + " columns; method "
                                     + with.name() + " needs a multiple of "
                                     + std::to_string(with.cols_multiple())
                                     + ". Leave it out with --exclude, or give it another method "
                                       "with --rule");
  if (rules.fits != nullptr)
    if (const auto fits = rules.fits({entry, each.source, with}); !fits)
      return fail(fits.error().code, at + fits.error().text);
  return {};
}

using chosen = std::map<tensor_ref, const kernels::recipe*>;

/// Refuses a file that holds weights we encoded before.
expected<void> check_fresh(const checkpoint_file& file) {
  const auto found = file.header.metadata.find(note_key);
  if (found == file.header.metadata.end())
    return {};
  const auto notes = read_note(found->second, file.path);
  if (!notes)
    return tl::unexpected(notes.error());
  if (!notes->empty())
    return fail(errc::unsupported, shown(file.path) + ": tensor " + shown(notes->begin()->first)
                                       + ": is quantized already; dequantize the file first");
  if (file.header.metadata.contains(scales_key))
    return fail(errc::unsupported, shown(file.path)
                                       + ": holds what a quantized model's scales were folded "
                                         "into; dequantize the model first");
  return {};
}

/// What one file's note says of the folds that have a part in it, and which those are.
struct file_scales {
  scale_notes notes;
  std::vector<std::uint32_t> folds;
};

file_scales scales_in(const checkpoint& c, std::uint32_t f, std::span<const scale_fold> folds) {
  file_scales result;
  for (std::uint32_t i = 0; i < folds.size(); ++i) {
    const auto set = static_cast<std::uint32_t>(result.folds.size());
    bool here = false;
    const auto note = [&](tensor_ref ref) -> scaled_note& {
      here = true;
      return result.notes.scaled[c.files[f].header.tensors[ref.tensor].name];
    };
    for (const auto ref : folds[i].weights)
      if (ref.file == f)
        note(ref).columns = set;
    if (folds[i].divided.file == f) {
      auto& divided = note(folds[i].divided);
      divided.rows = set;
      divided.plus = folds[i].plus;
    }
    if (folds[i].bias && folds[i].bias->file == f)
      note(*folds[i].bias).rows = set;
    if (!here)
      continue;
    result.notes.counts.push_back(folds[i].columns);
    result.folds.push_back(i);
  }
  return result;
}

/// Where each fold's digits begin in the file.
std::vector<late_scales> places_of(const file_scales& scales, std::string_view header) {
  std::vector<late_scales> places;
  auto offset = scales.folds.empty() ? 0 : scales_place(header);
  for (std::size_t i = 0; i < scales.folds.size(); ++i) {
    places.push_back({offset, scales.folds[i]});
    offset += scales.notes.counts[i] * scale_digits;
  }
  return places;
}

/// Lays one file: the tensors, their order, the header.
out_file lay_file(const checkpoint& c, std::uint32_t f, const chosen& choices,
                  const layout_rules& rules, std::string_view version,
                  std::span<const scale_fold> folds) {
  const auto& source = c.files[f];
  out_file out{.name = source.name, .header = {}, .tensors = {}, .bytes = 0, .scales = {}};
  const auto scales = scales_in(c, f, folds);
  weight_notes notes;
  for (std::uint32_t t = 0; t < source.header.tensors.size(); ++t) {
    const auto& entry = source.header.tensors[t];
    const auto found = choices.find({f, t});
    if (found == choices.end()) {
      out.tensors.push_back({.entry = entry, .source = {f, t}, .bytes = {}});
      continue;
    }
    std::ranges::move(rules.tensors({entry, {f, t}, *found->second}),
                      std::back_inserter(out.tensors));
    notes[entry.name] = {found->second->name(), entry.shape, entry.dtype, std::string(rules.name)};
  }
  auto metadata = source.header.metadata;
  metadata["format"] = "pt"; // transformers refuses files without
  if (!choices.empty() && rules.noted)
    metadata[note_key] = note_text(version, notes, scales.notes);
  if (!scales.folds.empty()) {
    std::uint64_t numbers = 0;
    for (const auto count : scales.notes.counts)
      numbers += count;
    metadata[scales_key] = std::string(numbers * scale_digits, '0');
  }

  std::vector<tensor_entry> entries;
  std::unordered_map<std::string, std::size_t> places;
  for (const auto& tensor : out.tensors) {
    places.emplace(tensor.entry.name, places.size());
    entries.push_back(tensor.entry);
  }
  out.header = lay_header(entries, metadata);
  out.bytes = entries.empty() ? out.header.size() : entries.back().end;
  out.scales = places_of(scales, out.header);
  std::vector<out_tensor> sorted;
  for (auto& entry : entries) {
    auto& tensor = out.tensors[places.at(entry.name)];
    tensor.entry = std::move(entry);
    sorted.push_back(std::move(tensor));
  }
  out.tensors = std::move(sorted);
  return out;
}

/// Refuses an output tensor whose name another has, which only a source that already holds a
/// layout's side tensors can bring about.
expected<void> check_names(const checkpoint& c, const chosen& choices, const layout_rules& rules) {
  std::unordered_map<std::string, tensor_ref> seen;
  for (std::uint32_t f = 0; f < c.files.size(); ++f)
    for (std::uint32_t t = 0; t < c.files[f].header.tensors.size(); ++t) {
      const auto& entry = c.files[f].header.tensors[t];
      const auto found = choices.find({f, t});
      std::vector<std::string> made;
      if (found == choices.end())
        made.push_back(entry.name);
      else
        for (auto& tensor : rules.tensors({entry, {f, t}, *found->second}))
          made.push_back(std::move(tensor.entry.name));
      for (auto& name : made)
        if (!seen.emplace(name, tensor_ref{f, t}).second)
          return fail(errc::unsupported, position_of(c, {f, t}) + "its output tensor " + shown(name)
                                             + " has the name of another; is the source quantized "
                                               "already? Leave the weight out with --exclude");
    }
  return {};
}

} // namespace

encoded_weight::encoded_weight(const tensor_entry& of, tensor_ref ref,
                               const kernels::recipe& recipe)
    : entry(of), source(ref), with(recipe), rows(of.shape[0]), cols(of.shape[1]),
      shape(recipe.row->shape(recipe, of.shape[1])) {}

std::uint64_t encoded_weight::plane_bytes(std::uint32_t plane) const noexcept {
  return shape.planes[plane].bytes(0, rows, cols);
}

out_tensor encoded_weight::plane(std::string_view ending, std::string_view dtype,
                                 std::vector<std::uint64_t> extents, std::uint32_t plane) const {
  auto made = constant(ending, dtype, std::move(extents), {});
  made.what = out_tensor::kind::plane;
  made.plane = plane;
  return made;
}

out_tensor encoded_weight::constant(std::string_view ending, std::string_view dtype,
                                    std::vector<std::uint64_t> extents, std::string bytes) const {
  out_tensor made;
  made.entry.name = entry.name + std::string(ending);
  made.entry.dtype = dtype;
  made.entry.shape = std::move(extents);
  made.what = out_tensor::kind::constant;
  made.source = source;
  made.bytes = std::move(bytes);
  return made;
}

std::span<const std::string_view> layouts() noexcept {
  return names;
}

std::string_view default_layout(const kernels::method& method) noexcept {
  return method.layouts.substr(0, method.layouts.find(' '));
}

bool for_engines(std::string_view layout) noexcept {
  const auto* rules = std::ranges::find(table, layout, &layout_rules::name);
  return rules != table.end() && rules->for_engines;
}

expected<out_checkpoint> lay_out(const checkpoint& c, std::span<const choice> choices,
                                 std::string_view layout, std::string_view version) {
  return lay_out(c, choices, layout, version, {});
}

expected<out_checkpoint> lay_out(const checkpoint& c, std::span<const choice> choices,
                                 std::string_view layout, std::string_view version,
                                 std::span<const scale_fold> folds) {
  const auto* rules = std::ranges::find(table, layout, &layout_rules::name);
  if (rules == table.end())
    return fail(errc::bad_option,
                "no layout is called " + shown(layout)
                    + "; there are awq, bitsandbytes, compressed-tensors, dense, safetensors");
  chosen by_place;
  for (const auto& each : choices) {
    if (auto good = check(c, each, *rules); !good)
      return tl::unexpected(good.error());
    by_place[each.source] = &each.recipe;
  }
  if (auto good = check_names(c, by_place, *rules); !good)
    return tl::unexpected(good.error());
  if (rules->for_engines)
    if (auto good = check_fused(c, choices); !good)
      return tl::unexpected(good.error());
  out_checkpoint out{.folder = c.folder, .files = {}, .texts = {}, .copies = {}};
  for (std::uint32_t f = 0; f < c.files.size(); ++f) {
    if (auto fresh = check_fresh(c.files[f]); !fresh && !choices.empty())
      return tl::unexpected(fresh.error());
    out.files.push_back(lay_file(c, f, by_place, *rules, version, folds));
  }
  if (!c.config.empty() && !choices.empty()) {
    auto config = edited_config(c, *rules, choices);
    if (!config)
      return tl::unexpected(config.error());
    out.texts.push_back({"config.json", std::move(*config)});
  }
  if (!c.index.empty())
    out.texts.push_back({c.index, index_text(out.files)});
  std::ranges::copy_if(c.others, std::back_inserter(out.copies), [&](const auto& other) {
    return std::ranges::find(out.texts, other.native(), &text_file::name) == out.texts.end();
  });
  return out;
}

} // namespace viva::formats
