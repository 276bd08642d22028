// Attention over k and v as methods have encoded them: the same bytes as over the decoded values,
// for every method that it takes, on every target and in every layout.

#include "kernels/attention_piece.hpp"
#include "tests/kernels/attention_problem.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/kernels/targets.hpp"
#include "tests/support/sanitized.hpp"

#include <algorithm>
#include <cstring>
#include <span>

namespace viva::kernels::testing {

using attention::encoded_tensor;
using attention::shape;

namespace {

/// One of k and v: encoded, and decoded by the method's reference.
struct side {
  planes bytes;
  encoded_tensor lies;
  std::vector<float> values; ///< (rows, cols)

  side(const recipe& how, const encoded_tensor& as, std::uint32_t seed)
      : bytes(how, as.rows_count, as.cols), lies(as), values(as.rows_count * as.cols) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (auto& each : values)
      each = normal(random);
    const auto source = make_tensor(values, how.source, lies.rows_count, lies.cols);
    lies.how = how;
    lies.numbers = numbers_of(how, source.view());
    REQUIRE(how.row->encode_simd(how, source.view(), lies.numbers, bytes.pointers()) == status{});
    REQUIRE(how.row->decode_reference(how, lies.rows_count, lies.cols, lies.numbers,
                                      std::as_const(bytes).pointers(), values.data())
            == status{});
    point();
  }
  side(const side&) = delete;
  void point() {
    for (std::size_t p = 0; p < bytes.each.size(); ++p)
      lies.planes[p] = bytes.each[p].data();
  }
  attention::source_rows encoded() const {
    attention::source_rows rows;
    rows.encoded = &lies;
    return rows;
  }
  attention::source_rows decoded() const {
    const std::size_t row = lies.cols * sizeof(float);
    return {reinterpret_cast<const std::byte*>(values.data()), dtype::f32,
            {lies.rows.sequence * row, lies.rows.head * row + lies.head_columns * sizeof(float),
             lies.rows.row * row}};
  }
};

encoded_tensor packed(const recipe& how, const shape& of) {
  return encoded_tensor::packed(how, of.batch, of.kv_heads, of.keys, of.head_size);
}

/// (batch, keys, kv_heads * head_size): heads share a row.
encoded_tensor beside(const recipe& how, const shape& of) {
  encoded_tensor made;
  made.how = how;
  made.rows_count = of.batch * of.keys;
  made.cols = of.kv_heads * of.head_size;
  made.rows = {of.keys, 0, 1};
  made.head_columns = of.head_size;
  return made;
}

result attend(const shape& of, const attention::inputs& in) {
  result got(of);
  scratch memory;
  REQUIRE(attention::attend(of, in, got.to(of), 0, attention::pieces(of), memory) == status{});
  return got;
}

/// Parts over the keys between cuts, merged.
result merged_parts(const shape& of, const attention::inputs& in,
                    const std::vector<std::size_t>& cuts) {
  std::vector<result> results;
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    auto part = of;
    part.keys = cuts[i + 1] - cuts[i];
    part.keys_after = of.keys - cuts[i + 1];
    auto given = in;
    given.k.skipped = given.v.skipped = cuts[i];
    results.push_back(attend(part, given));
  }
  std::vector<attention::part> parts;
  for (const auto& each : results)
    parts.push_back({each.out.data(), each.lse.data()});
  result whole(of);
  attention::merge(parts, result::rows(of), of.head_size, whole.to(of).out, dtype::f32,
                   whole.lse.data());
  return whole;
}

void require_same(const result& got, const result& wanted) {
  REQUIRE(std::memcmp(got.out.data(), wanted.out.data(), got.out.size() * sizeof(float)) == 0);
  REQUIRE(std::memcmp(got.lse.data(), wanted.lse.data(), got.lse.size() * sizeof(float)) == 0);
}

/// Attention over the planes has the bytes of attention over the values, whole and of the keys
/// behind the first `skipped`.
void require_decoded(const problem& made, const side& k, const side& v, std::size_t skipped) {
  auto encoded = made.in(), decoded = made.in();
  encoded.k = k.encoded(), encoded.v = v.encoded();
  decoded.k = k.decoded(), decoded.v = v.decoded();
  const auto wanted = attend(made.of, decoded);
  require_same(attend(made.of, encoded), wanted);
  auto mixed = encoded;
  mixed.v = decoded.v;
  require_same(attend(made.of, mixed), wanted);
  auto part = made.of;
  part.keys -= skipped;
  for (auto* each : {&encoded.k, &encoded.v, &decoded.k, &decoded.v})
    each->skipped = skipped;
  require_same(attend(part, encoded), attend(part, decoded));
}

/// Few and many queries, a window that begins anywhere, heads, and lengths that no run divides.
std::vector<shape> shapes_of(std::size_t head_size) {
  return {{.queries = 1, .keys = 1033, .head_size = head_size},
          {.batch = 2,
           .heads = 4,
           .kv_heads = 2,
           .queries = 2,
           .keys = 80,
           .head_size = head_size,
           .causal = true,
           .window = 49},
          {.heads = 2, .kv_heads = 1, .queries = 37, .keys = 141, .head_size = head_size},
          {.batch = 2,
           .heads = 2,
           .kv_heads = 2,
           .queries = 75,
           .keys = 96,
           .head_size = head_size,
           .causal = true,
           .window = 37}};
}

/// All, or where every access is checked and each costs ten seconds, one for each form of planes.
std::vector<std::string_view> methods_walked() {
  if (tests::sanitized)
    return {"q8_0", "int8", "fp8", "nf4"};
  std::vector<std::string_view> names;
  for (const auto& row : methods())
    names.push_back(row.name);
  return names;
}

/// Shapes of each head size; where every access is checked, another one for each.
constexpr std::size_t shapes_each = tests::sized(4, 1);

/// Shapes that the method was taken for.
std::size_t walk(const recipe& how, encoded_tensor (*layout)(const recipe&, const shape&)) {
  std::size_t taken = 0, first = 0;
  for (const std::size_t head_size : {32, 40, 96, 256}) {
    const auto all = shapes_of(head_size);
    const auto walked = std::span(all).subspan(first, shapes_each);
    first += tests::sized(0, 1);
    for (const auto& of : walked) {
      const auto lies = layout(how, of);
      if (!attention::check(of, lies))
        continue;
      ++taken;
      const side k(how, lies, 1), v(how, lies, 2);
      const problem made(of, dtype::f32, false, 3);
      INFO(how.name() << ": " << describe(of));
      for_each_target([&] { require_decoded(made, k, v, 19); });
    }
  }
  return taken;
}

} // namespace

TEST_CASE("attention: over encoded k and v it has the bytes of attention over their values",
          "[attention]") {
  std::string taken;
  for (const auto name : methods_walked())
    if (walk(recipe_of(name, dtype::f32), packed) != 0)
      taken += std::string(name) + " ";
  for (const char* name : {"q8_0 ", "int8 ", "fp8 ", "nf4 "})
    CHECK((" " + taken).find(std::string(" ") + name) != std::string::npos);
  CHECK(walk(recipe_of("nf4", dtype::f32), packed) == 4 * shapes_each); // rows cut blocks
  CHECK(walk(recipe_of("int8", dtype::f32), packed) == 4 * shapes_each);
}

TEST_CASE("attention: heads that share encoded rows are read where they lie", "[attention]") {
  std::size_t taken = 0;
  for (const auto name : methods_walked())
    taken += walk(recipe_of(name, dtype::bf16), beside) != 0 ? 1 : 0;
  CHECK(taken >= (tests::sized(10, 4)));
  CHECK(walk(recipe_of("int8", dtype::f32), beside) == 4 * shapes_each);
  CHECK(walk(recipe_of("q8_0", dtype::f32), beside) == 3 * shapes_each); // all but 40 columns
  CHECK(walk(recipe_of("nf4", dtype::f32), beside) == shapes_each); // 256 columns
}

TEST_CASE("attention: over encoded k and v it is within the bound of their exact attention, for "
          "decoding and for prefill",
          "[attention]") {
  const std::vector<shape> all{
      {.heads = 4, .kv_heads = 2, .queries = 50, .keys = 230, .head_size = 64},
      {.heads = 6, .kv_heads = 2, .queries = 1, .keys = 1037, .head_size = 128},
      {.heads = 2, .kv_heads = 1, .queries = 2, .keys = 515, .head_size = 96, .causal = true,
       .window = 301},
      {.batch = 2, .heads = 3, .kv_heads = 1, .queries = 1, .keys = 88, .head_size = 40},
      {.heads = 2, .kv_heads = 2, .queries = 3, .keys = 66, .head_size = 256, .causal = true}};
  for (const auto& [name, taken] : {std::pair{"q8_0", 4}, std::pair{"int8", 5},
                                    std::pair{"fp8", 5}, std::pair{"nf4", 5}}) {
    const auto how = recipe_of(name, dtype::f32);
    int met = 0;
    for (const auto& of : all) {
      if (!attention::check(of, packed(how, of)))
        continue;
      ++met;
      const side k(how, packed(how, of), 1), v(how, packed(how, of), 2);
      for (const auto type : {dtype::f32, dtype::bf16, dtype::f16}) {
        const problem made(of, type, met % 2 == 0, 3);
        auto in = made.in();
        in.k = k.encoded(), in.v = v.encoded();
        exact truth{std::vector<double>(result::rows(of) * of.head_size),
                    std::vector<double>(result::rows(of))};
        REQUIRE(attention::attend_reference(of, in, truth.out.data(), truth.lse.data())
                == status{});
        for_each_target([&] {
          INFO(name << " " << name_of(type) << ": " << describe(of));
          require_close(of, attend(of, in), truth, 2e-6);
        });
      }
    }
    CHECK(met == taken); // a block of 32 is no part of a head of 40
  }
}

TEST_CASE("attention: parts over encoded keys merge to the whole, for decoding and for prefill",
          "[attention]") {
  constexpr const char* all[] = {"q8_0", "int8", "fp8", "nf4"};
  for (const char* name : std::span(all).first(tests::sized(4, 1)))
    for (const std::size_t queries : {1, 45}) {
      const shape of{.heads = 4, .kv_heads = 2, .queries = queries, .keys = 300, .head_size = 64,
                     .causal = true, .window = 220};
      const auto how = recipe_of(name, dtype::f32);
      const side k(how, packed(how, of), 1), v(how, packed(how, of), 2);
      const problem made(of, dtype::f32, false, 3);
      auto in = made.in();
      in.k = k.encoded(), in.v = v.encoded();
      exact truth{std::vector<double>(result::rows(of) * of.head_size),
                  std::vector<double>(result::rows(of))};
      REQUIRE(attention::attend_reference(of, in, truth.out.data(), truth.lse.data()) == status{});
      for_each_target([&] {
        const auto whole = as_exact(attend(of, in));
        for (const auto& cuts : std::vector<std::vector<std::size_t>>{
                 {0, 1, 300}, {0, 128, 256, 300}, {0, 77, 77, 299, 300}}) {
          INFO(name << ", " << queries << " queries, " << cuts.size() - 1 << " parts");
          const auto merged = merged_parts(of, in, cuts);
          require_close(of, merged, truth, 2e-6);
          require_close(of, merged, whole, 2e-6);
        }
      });
    }
}

TEST_CASE("attention: bytes that a method cannot have written are refused, in k and in v",
          "[attention]") {
  for (const auto& [queries, scale] : {std::pair{std::size_t{1}, std::uint16_t{0x7F7F}},
                                       std::pair{std::size_t{2}, std::uint16_t{0x7C00}},
                                       std::pair{std::size_t{40}, std::uint16_t{0xFC00}}}) {
    const shape of{.queries = queries, .keys = 300, .head_size = 64};
    const auto how = recipe_of("q8_0", dtype::f32);
    const problem made(of, dtype::f32, false, 3);
    for (const bool in_k : {true, false}) {
      side k(how, packed(how, of), 1), v(how, packed(how, of), 2);
      auto& bad = (in_k ? k : v).bytes.each[0];
      const std::size_t block = 290 * 2 * 34; // zeros, whose scale is NaN or infinite
      std::fill_n(bad.begin() + block, 34, std::byte{0});
      std::memcpy(bad.data() + block, &scale, sizeof scale);
      auto in = made.in();
      in.k = k.encoded(), in.v = v.encoded();
      for_each_target([&] {
        result got(of);
        scratch memory;
        const auto attend_to = [&](const shape& part) {
          return attention::attend(part, in, got.to(of), 0, attention::pieces(part), memory);
        };
        CHECK(attend_to(of) == status{errc::malformed});
        auto in_front = of;
        in_front.keys = 280; // what lies behind is not read
        CHECK(attend_to(in_front) == status{});
      });
      exact truth{std::vector<double>(queries * 64), std::vector<double>(queries)};
      CHECK(attention::attend_reference(of, in, truth.out.data(), truth.lse.data())
            == status{errc::malformed});
    }
  }
}

TEST_CASE("attention: encoded tensors whose blocks reach over a head's end are refused",
          "[attention]") {
  const auto code_of = [](const char* method, const shape& of, auto layout) {
    const auto how = recipe_of(method, dtype::f32);
    const auto lies = layout(how, of);
    const auto code = attention::check(of, lies).code;
    attention::inputs in;
    in.k.encoded = &lies; // refused before anything is read
    scratch memory;
    if (code != errc::ok)
      CHECK(attention::attend(of, in, {}, 0, 1, memory) == status{code});
    return code;
  };
  const shape heads{.heads = 2, .kv_heads = 2, .queries = 1, .keys = 4, .head_size = 32};
  CHECK(code_of("nf4", heads, packed) == errc::ok); // a block is two rows
  CHECK(code_of("nf4", heads, beside) == errc::bad_shape);
  auto odd = heads;
  odd.keys = 5;
  CHECK(code_of("nf4", odd, packed) == errc::bad_shape);
  odd.kv_heads = 1;
  CHECK(code_of("nf4", odd, packed) == errc::ok);
  odd.head_size = 40;
  CHECK(code_of("q8_0", odd, packed) == errc::bad_shape);
  CHECK(code_of("fp8-block", heads, packed) == errc::unsupported);
}

} // namespace viva::kernels::testing
