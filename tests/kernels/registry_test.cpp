#include "kernels/registry.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/support/catch.hpp"

#include <set>

namespace viva::kernels::testing {

TEST_CASE("every row of the registry is whole", "[registry]") {
  std::set<std::string_view> names;
  for (const auto& row : methods()) {
    INFO(row.name);
    REQUIRE(names.insert(row.name).second);
    REQUIRE(find_method(row.name) == &row);
    REQUIRE_FALSE(row.summary.empty());
    REQUIRE_FALSE(row.layouts.empty());
    REQUIRE(row.cols_multiple >= 1);
    REQUIRE(row.sqnr_db_normal > 0);
    REQUIRE(row.sqnr_db_theory != nullptr);
    REQUIRE(row.encode_reference != nullptr);
    REQUIRE(row.encode_simd != nullptr);
    REQUIRE(row.decode_reference != nullptr);
    REQUIRE(row.decode_simd != nullptr);
    REQUIRE((row.survey_run == nullptr) == (row.survey_finish == nullptr));
    REQUIRE(row.options.empty() == (row.rules.size_key.empty() && row.rules.flags.empty()));
  }
  REQUIRE(find_method("nf5") == nullptr);
  REQUIRE(find_method("") == nullptr);
}

TEST_CASE("a recipe's name is parsed back to the same recipe", "[registry][recipe]") {
  for (const std::string text :
       {"int8", "nf4", "nf4:block=32", "nf4-dq:block=4096", "q8_0", "int4",
        "int4:group=32:asym:search", "int4:search", "int8-group:group=64"}) {
    const auto parsed = parse_recipe(text, dtype::bf16);
    REQUIRE(parsed);
    REQUIRE(parsed->name() == text);
    REQUIRE(parsed->source == dtype::bf16);
    REQUIRE(parsed->row->name == text.substr(0, text.find(':')));
  }
  REQUIRE(parse_recipe("nf4:block=64", dtype::f32)->name() == "nf4"); // the default is not said
  REQUIRE(parse_recipe("nf4:block=128", dtype::f32)->block == 128);
}

TEST_CASE("a method's variant may be spelled as its option", "[registry][recipe]") {
  const auto name = [](std::string_view text) { return recipe_of(text, dtype::bf16).name(); };
  REQUIRE(name("nvfp4:four-or-six") == "nvfp4-four-or-six");
  REQUIRE(name("nf4:dq:block=128") == "nf4-dq:block=128");
  REQUIRE(name("fp8:block") == "fp8-block");
  for (const auto& row : methods())
    if (const auto dash = row.name.find('-'); dash != std::string_view::npos) {
      auto text = std::string(row.name);
      text[dash] = ':';
      INFO(text);
      if (find_method(row.name.substr(0, dash)) != nullptr) // there is no llm
        REQUIRE(recipe_of(text, dtype::f32).row == &row);
    }
}

TEST_CASE("a wrong recipe is refused with what is wrong and what would be right",
          "[registry][recipe]") {
  const auto refused = [](std::string_view text, errc code, std::string_view part) {
    const auto parsed = parse_recipe(text, dtype::f32);
    INFO(text);
    REQUIRE_FALSE(parsed);
    REQUIRE(parsed.error().code == code);
    INFO(parsed.error().text);
    REQUIRE(parsed.error().text.find(part) != std::string::npos);
  };
  refused("nf5", errc::unknown_method, "'nf5'");
  refused("nf5", errc::unknown_method, "nf4-dq");
  refused("", errc::unknown_method, "''");
  refused("NF4", errc::unknown_method, "'NF4'");
  for (const std::string_view word : {"block=63", "block=", "block", "block=64x", "block=-64", "",
                                      "blocks=64", "block=64 ", "size=64", "block=99999999999"})
    refused("nf4:" + std::string(word), errc::bad_option, "'" + std::string(word) + "'");
  refused("nf4:block=1", errc::bad_option, "block=4096");
  refused("nf4:block=64:", errc::bad_option, "''");
  refused("nf4:block=32:block=64", errc::bad_option, "'block' twice");
  refused("int4:search:asym:search", errc::bad_option, "'search' twice");
  refused("q8_0:block=32", errc::bad_option, "has none");
  refused("nvfp4:four-or-five", errc::bad_option, "'four-or-five'");
  refused("nvfp4:four-or-six:asym", errc::bad_option, "method nvfp4-four-or-six");
}

TEST_CASE("offsets and bytes of planes fit together for every cut", "[registry][plane]") {
  for (const auto& row : methods())
    for (const std::uint64_t factor : {1, 3, 64, 97}) {
      const auto with = recipe_of(row.name, dtype::bf16);
      const auto cols = factor * row.cols_multiple;
      const auto shape = row.shape(with, cols);
      const auto grain = shape.rows_grain;
      const auto rows = 3 * grain + 1;
      for (const auto& each : shape.all()) {
        INFO(row.name << ", plane " << each.name << ", cols " << cols);
        REQUIRE(each.offset(0, cols) == 0);
        std::uint64_t sum = 0;
        if (each.unit == plane::unit_kind::tensor) { // the same bytes from every run
          REQUIRE(each.offset(grain, cols) == 0);
          REQUIRE(each.bytes(grain, grain, cols) == each.bytes(0, rows, cols));
          continue;
        }
        for (std::uint64_t first = 0; first < rows; first += grain) {
          REQUIRE(each.offset(first, cols) == sum);
          sum += each.bytes(first, std::min(grain, rows - first), cols);
        }
        REQUIRE(sum == each.bytes(0, rows, cols));
      }
    }
}

TEST_CASE("a unit of several rows counts whole where the last of them are missing",
          "[registry][plane]") {
  const plane zeros{
      .name = "zeros", .unit = plane::unit_kind::row, .unit_bytes = 12, .unit_rows = 8};
  REQUIRE(zeros.offset(16, 100) == 24);
  REQUIRE(zeros.bytes(0, 16, 100) == 24);
  REQUIRE(zeros.bytes(8, 9, 100) == 24);
  REQUIRE(zeros.bytes(0, 1, 100) == 12);
  REQUIRE(zeros.bytes(8, 0, 100) == 0);
}

TEST_CASE("bits per weight count every plane", "[registry][plane]") {
  const auto bits = [](std::string_view text, dtype source) {
    return bits_per_weight(recipe_of(text, source), 1024, 512);
  };
  REQUIRE(bits("int8", dtype::f32) == 8.0625);
  REQUIRE(bits("int8", dtype::bf16) == 8.03125);
  REQUIRE(bits("nf4", dtype::f32) == 4.5);
  REQUIRE(bits("nf4:block=4096", dtype::f32) == 4.0078125);
  REQUIRE(bits("nf4-dq", dtype::f32) == Approx(4.127).epsilon(0.0001));
  REQUIRE(bits("q8_0", dtype::f32) == 8.5);
  REQUIRE(bits("q4_0", dtype::f32) == 4.5);
  REQUIRE(bits("int8-tensor", dtype::f32) == Approx(8.0001).epsilon(1e-5));
  REQUIRE(bits("llm-int8", dtype::bf16) == 8.0625);
  REQUIRE(bits("int4", dtype::bf16) == 4.125);
  REQUIRE(bits("int4:asym", dtype::bf16) == 4.15625);
  REQUIRE(bits("int8-group", dtype::bf16) == 8.125);
  REQUIRE(bits_per_weight(recipe_of("nf4", dtype::f32), 0, 512) == 0);
  // Odd sizes: the last code byte and the last scale are whole.
  REQUIRE(bits_per_weight(recipe_of("nf4", dtype::f32), 1, 65) == 8.0 * (33 + 8) / 65);
}

TEST_CASE("a run's first row is where its first block starts", "[registry][plane]") {
  const auto grain = [](std::string_view text, std::uint64_t cols) {
    const auto with = recipe_of(text, dtype::f32);
    return with.row->shape(with, cols).rows_grain;
  };
  REQUIRE(grain("int8", 77) == 1);
  REQUIRE(grain("nf4", 512) == 1);
  REQUIRE(grain("nf4", 96) == 2);
  REQUIRE(grain("nf4", 77) == 64);
  REQUIRE(grain("nf4-dq", 512) == 32);
  REQUIRE(grain("nf4-dq", 16384) == 1);
  REQUIRE(grain("q4_0", 32) == 1);
  REQUIRE(grain("int4", 128) == 1);
  REQUIRE(grain("int4:asym", 128) == 8);
}

TEST_CASE("columns must divide by the group of a recipe, not of its method", "[registry]") {
  REQUIRE(recipe_of("int4", dtype::f32).cols_multiple() == 128);
  REQUIRE(recipe_of("int4:group=32", dtype::f32).cols_multiple() == 32);
  REQUIRE(recipe_of("nf4:block=32", dtype::f32).cols_multiple() == 1);
  REQUIRE(recipe_of("q8_0", dtype::f32).cols_multiple() == 32);
}

TEST_CASE("every error has a name of its own", "[errors]") {
  std::set<std::string_view> names;
  for (int code = 0; code <= static_cast<int>(errc::interrupted); ++code)
    REQUIRE(names.insert(to_string(static_cast<errc>(code))).second);
  REQUIRE(to_string(errc::not_finite) == "not_finite");
  REQUIRE(names.count("unknown") == 0);
}

} // namespace viva::kernels::testing
