#pragma once

// What a file's __metadata__ says of scales that were folded (scale_folds.hpp), so that weights and
// norms are read back as they were before:
//
//   viva         the note (note.hpp) has two more members:
//                  "scales":[4096, …]     how many numbers each set has
//                  "scaled":{"a.q_proj.weight":{"columns":0},
//                            "a.v_proj.weight":{"columns":0,"rows":1},
//                            "a.input_layernorm.weight":{"rows":0,"plus":1.0}, …}
//   viva.scales  the sets, one behind the other: the bits of each f32 as 8 hexadecimal digits
//
// A tensor's columns were multiplied by a set, its rows (or the values of one of one dimension)
// divided by one; "plus" is added before dividing and taken off after.

#include "kernels/error.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace viva::formats {

inline constexpr const char* scales_key = "viva.scales"; ///< In __metadata__.
inline constexpr std::size_t scale_digits = 8;           ///< Of one number in the text.

/// Which sets one tensor has to do with.
struct scaled_note {
  std::optional<std::uint32_t> columns, rows;
  float plus = 0;
  friend bool operator==(const scaled_note&, const scaled_note&) = default;
};

struct scale_notes {
  std::vector<std::uint64_t> counts; ///< Of each set.
  std::map<std::string, scaled_note> scaled;
};

using scale_set = std::shared_ptr<const std::vector<float>>;

/// What a tensor was scaled by; null where it was not.
struct tensor_scales {
  scale_set columns, rows;
  float plus = 0;
};

/// The digits of one set.
std::string scales_text(std::span<const float> scales);

/// Where the digits begin in a header that `lay_header` made of metadata with scales_key.
std::size_t scales_place(std::string_view header) noexcept;

/// Reads both members and the digits: by tensor; nothing where there is neither. Refuses the one
/// without the other, what is of another length, or no positive number. `note` and `digits` are the
/// two values; `file` is for the error's text.
expected<std::map<std::string, tensor_scales>> read_scales(const std::string& note,
                                                           std::optional<std::string_view> digits,
                                                           const std::filesystem::path& file);

} // namespace viva::formats
