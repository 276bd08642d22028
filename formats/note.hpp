#pragma once

// The note: what we leave in a file's __metadata__ under "viva", as compact JSON, so that an
// encoded weight is known for what it is where no engine's own sign says so.
//
//   {"version":"0.1.0","tensors":{"a.weight":{"method":"q8_0","shape":[4096,4096],"dtype":"BF16",
//    "layout":"safetensors"}, …}}

#include "formats/scale_note.hpp"
#include "kernels/error.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace viva::formats {

inline constexpr const char* note_key = "viva"; ///< In __metadata__.

/// Of one encoded weight.
struct weight_note {
  std::string method; ///< As `parse_recipe` takes it.
  std::vector<std::uint64_t> shape;
  std::string dtype; ///< Of the source, as in its header.
  std::string layout;
  friend bool operator==(const weight_note&, const weight_note&) = default;
};

using weight_notes = std::map<std::string, weight_note>;

/// `scales` adds what scale_note.hpp tells, where anything was scaled.
std::string note_text(std::string_view version, const weight_notes& notes,
                      const scale_notes& scales = {});

/// `file` is for the error's text.
expected<weight_notes> read_note(const std::string& text, const std::filesystem::path& file);

} // namespace viva::formats
