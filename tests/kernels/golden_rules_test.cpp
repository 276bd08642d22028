// Bytes of rules that no engine's vectors cover: every option, searches, columns that weigh,
// stacks, every subset of flags, every type of the source. golden_rules.inc and golden_types.inc
// have them, computed by golden_bytes.py and golden_types.py, which share nothing with the kernels
// but the headers' words; what engines' vectors do cover (golden_test.cpp) came out of it
// alike.

#include "tests/kernels/golden.hpp"
#include "tests/support/catch.hpp"

#include <algorithm>
#include <set>
#include <string_view>

namespace viva::kernels::testing {

namespace {

/// plain: 64 x 512 bf16. weighed: the same, with channels. wide: 128 x 256, two blocks of 128 x 128
/// whose scales differ. f16, f32: 64 x 512 of these.
enum class source_kind : std::uint8_t { plain, weighed, wide, f16, f32 };

struct golden_plane {
  std::uint64_t hash;
  std::string_view first; ///< Its first 16 bytes, or all of fewer, in hex.
};

struct golden_row {
  std::string method;
  source_kind source;
  std::vector<golden_plane> planes;
};

const std::vector<golden_row>& golden_rows() {
  using enum source_kind;
  static const std::vector<golden_row> rows = {
#include "tests/kernels/golden_rules.inc"
#include "tests/kernels/golden_types.inc"
  };
  return rows;
}

/// Spellings whose bytes are in golden_test.cpp or sparse24_test.cpp, from engines' own code.
constexpr std::string_view published[] = {
    "int8", "llm-int8", "fp8",  "nvfp4", "nvfp4-ggml", "mxfp4",           "mxfp4-ggml",
    "q8_0", "q4_0",     "q4_1", "q5_0",  "q5_1",       "sparse24-cutlass"};

dtype type_of(source_kind kind) {
  return kind == source_kind::f16   ? dtype::f16
         : kind == source_kind::f32 ? dtype::f32
                                    : dtype::bf16;
}

tensor source_of(source_kind kind) {
  auto values = generate(32768, 2024);
  if (kind != source_kind::wide)
    return make_tensor(values, type_of(kind), 64, 512);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = rounded_to(values[i], dtype::bf16) * (i % 256 >= 128 ? 3.0f : 1.0f);
  return make_tensor(values, dtype::bf16, 128, 256);
}

std::string hex_of(const std::vector<std::byte>& bytes, std::size_t count) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < std::min(count, bytes.size()); ++i) {
    text += digits[static_cast<unsigned>(bytes[i]) >> 4];
    text += digits[static_cast<unsigned>(bytes[i]) & 15];
  }
  return text;
}

} // namespace

TEST_CASE("methods of which only a rule is published have the rule's bytes", "[golden]") {
  const auto weights = importance(512, 777);
  for (const auto& row : golden_rows()) {
    const auto source = source_of(row.source);
    auto with = recipe_of(row.method, type_of(row.source));
    if (row.source == source_kind::weighed)
      with.channels = weights;
    const auto numbers = numbers_of(with, source.view());
    for (const auto which : {path::reference, path::simd}) {
      CAPTURE(row.method, static_cast<int>(row.source), name_of(which));
      planes made(with, source.rows, source.cols);
      const auto encode =
          which == path::reference ? with.row->encode_reference : with.row->encode_simd;
      REQUIRE(encode(with, source.view(), numbers, made.pointers()) == status{});
      REQUIRE(made.each.size() == row.planes.size());
      for (std::size_t p = 0; p < row.planes.size(); ++p) {
        CAPTURE(p);
        CHECK(hex_of(made.each[p], 16) == row.planes[p].first);
        CHECK(golden_hash(made.each[p]) == row.planes[p].hash);
      }
    }
  }
}

TEST_CASE("every method with each of its options has golden bytes", "[golden][registry]") {
  std::set<std::string> known(std::begin(published), std::end(published));
  for (const auto& row : golden_rows())
    known.insert(row.method);
  for (const auto& row : methods())
    for (const auto& text : spellings(row)) {
      INFO(text);
      CHECK(known.contains(text));
    }
}

TEST_CASE("methods whose scales are of the source's type have golden bytes of all three, and every "
          "subset of flags with every size",
          "[golden][registry]") {
  std::set<std::pair<std::string, dtype>> known;
  for (const auto& row : golden_rows())
    if (row.source != source_kind::weighed)
      known.emplace(row.method, type_of(row.source));
  for (const std::string_view name : {"int4", "sparse24+int4", "awq"}) {
    const auto& rules = find_method(name)->rules;
    REQUIRE(rules.flags.size() == 3);
    for (const auto size : rules.sizes)
      for (unsigned subset = 0; subset < 8; ++subset) {
        std::string text(name);
        if (size != rules.sizes[0])
          text += ":group=" + std::to_string(size);
        for (unsigned i = 0; i < 3; ++i)
          if ((subset >> i & 1u) != 0)
            text.append(":").append(rules.flags[i].name);
        for (const auto type : {dtype::bf16, dtype::f16, dtype::f32}) {
          INFO(text << " of " << name_of(type));
          CHECK(known.contains({text, type}));
        }
      }
  }
  for (const auto* text : {"int8-tensor", "int8-group", "int8-group:group=64",
                           "int8-group:group=32", "fp8-tensor", "sparse24", "sparse24+int8"})
    for (const auto type : {dtype::bf16, dtype::f16, dtype::f32}) {
      INFO(text << " of " << name_of(type));
      CHECK(known.contains({text, type}));
    }
}

} // namespace viva::kernels::testing
