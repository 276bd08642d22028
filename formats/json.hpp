#pragma once

// JSON files beside the weights (config.json, the index): untrusted, so duplicate keys and deep
// nesting are refused, and nothing throws.

#include "kernels/error.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>

namespace viva::formats {

/// Parses one JSON object. `Json` is nlohmann's json (sorted, fast look-ups) or ordered_json (keeps
/// the order of the keys). `file` is for the error's text.
template <class Json>
expected<Json> parse_object(const std::string& text, const std::filesystem::path& file);

/// Text of any JSON value; bytes that are no UTF-8 become U+FFFD. `indent` < 0 is compact.
template <class Json>
std::string text_of(const Json& value, int indent = -1) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

} // namespace viva::formats
