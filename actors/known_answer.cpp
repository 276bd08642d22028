#include "actors/known_answer.hpp"

#include "actors/version.hpp"
#include "kernels/attention.hpp"
#include "kernels/scalar.hpp"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <vector>

namespace viva::actors {
namespace {

constexpr std::uint64_t rows_max = 16; // methods whose grain is larger would take long
constexpr std::uint64_t cols_min = 256;
constexpr std::size_t attention_keys = 1100; // of two tiles for few queries, of nine for many
constexpr const char* frames_version = "frames 3";

/// bf16 of both signs and many magnitudes, none NaN or infinite, the same on every machine.
std::vector<std::uint16_t> fixed_values(std::size_t count) {
  std::vector<std::uint16_t> values(count);
  std::uint64_t state = 0x9E3779B97F4A7C15u;
  for (auto& each : values) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const auto bits = static_cast<std::uint32_t>(state >> 33);
    // sign, an exponent from 2^-9 to 2^6, seven bits of mantissa
    each = static_cast<std::uint16_t>((bits & 0x8000) | (118 + (bits >> 16 & 15)) << 7
                                      | (bits & 0x7F));
  }
  return values;
}

using plane_bytes = std::array<std::vector<std::byte>, kernels::planes_max>;

/// Room for what comes of a (rows, cols) matrix.
plane_bytes planes_for(const kernels::recipe& how, std::uint64_t rows, std::uint64_t cols) {
  const auto planes = how.row->shape(how, cols);
  plane_bytes bytes;
  for (std::size_t i = 0; i < planes.planes_count; ++i)
    bytes[i].resize(planes.planes[i].bytes(0, rows, cols));
  return bytes;
}

std::array<std::byte*, kernels::planes_max> pointers_to(plane_bytes& bytes) {
  std::array<std::byte*, kernels::planes_max> out{};
  for (std::size_t i = 0; i < bytes.size(); ++i)
    out[i] = bytes[i].data();
  return out;
}

void add_answer(XXH3_state_t* all, const kernels::method& method, const encode_way& way) {
  auto recipe = kernels::parse_recipe(method.name, kernels::dtype::bf16);
  if (!recipe)
    return;
  const auto multiple = recipe->cols_multiple();
  const auto cols = (cols_min + multiple - 1) / multiple * multiple;
  const auto planes = method.shape(*recipe, cols);
  if (planes.rows_grain > rows_max)
    return;
  const auto rows = (3 + planes.rows_grain) / planes.rows_grain * planes.rows_grain;
  const auto values = fixed_values(rows * cols);
  const kernels::matrix in{reinterpret_cast<const std::byte*>(values.data()),
                           kernels::dtype::bf16, rows, cols};
  kernels::tensor_numbers numbers;
  kernels::survey seen;
  if (method.survey_run != nullptr && method.survey_run(*recipe, in, seen))
    numbers = method.survey_finish(*recipe, seen);
  auto bytes = planes_for(*recipe, rows, cols);
  auto out = pointers_to(bytes);
  const auto done = way(*recipe, in, numbers, {out.data(), planes.planes_count});
  XXH3_64bits_update(all, &done.code, sizeof done.code);
  for (const auto& plane : bytes)
    XXH3_64bits_update(all, plane.data(), plane.size());
}

/// 64-bit linear congruence: numbers from -2 to 2, the same on every machine.
std::vector<float> fixed_numbers(std::size_t count, std::uint64_t state) {
  std::vector<float> numbers(count);
  for (auto& each : numbers) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    each = static_cast<float>(static_cast<std::int32_t>(state >> 32)) * 0x1p-30f;
  }
  return numbers;
}

struct fixed_problem {
  kernels::attention::shape of;
  std::vector<float> q, k, v; ///< Packed.

  explicit fixed_problem(std::size_t queries)
    : of{.heads = 2, .kv_heads = 1, .queries = queries, .keys = attention_keys, .head_size = 64,
         .causal = true},
      q(fixed_numbers(of.heads * queries * of.head_size, 1)),
      k(fixed_numbers(of.keys * of.head_size, 2)), v(fixed_numbers(of.keys * of.head_size, 3)) {
  }
  std::vector<std::byte> bytes_of(const std::vector<float>& side, kernels::dtype type) const {
    std::vector<std::byte> bytes(side.size() * kernels::bytes_of(type));
    for (std::size_t i = 0; i < side.size(); ++i)
      kernels::put_value(side[i], type, bytes.data(), i);
    return bytes;
  }
  kernels::attention::source_rows rows(const std::vector<std::byte>& bytes, kernels::dtype type,
                                       std::size_t heads, std::size_t count) const {
    return {bytes.data(), type,
            kernels::attention::strides::packed(heads, count,
                                                of.head_size * kernels::bytes_of(type))};
  }
};

void add_attention(XXH3_state_t* all, const fixed_problem& what, kernels::dtype type,
                   const kernels::attention::inputs& in) {
  const auto& of = what.of;
  const auto count = of.heads * of.queries;
  std::vector<std::byte> out(count * of.head_size * kernels::bytes_of(type));
  std::vector<float> lse(count);
  kernels::scratch memory;
  const auto done = kernels::attention::attend(
    of, in, {out.data(), type, what.rows(out, type, of.heads, of.queries).bytes, lse.data()}, 0,
    kernels::attention::pieces(of), memory);
  XXH3_64bits_update(all, &done.code, sizeof done.code);
  XXH3_64bits_update(all, out.data(), out.size());
  XXH3_64bits_update(all, lse.data(), lse.size() * sizeof(float));
}

void add_plain(XXH3_state_t* all, const fixed_problem& what, kernels::dtype type) {
  const auto& of = what.of;
  const auto q = what.bytes_of(what.q, type), k = what.bytes_of(what.k, type),
             v = what.bytes_of(what.v, type);
  add_attention(all, what, type,
                {what.rows(q, type, of.heads, of.queries), what.rows(k, type, 1, of.keys),
                 what.rows(v, type, 1, of.keys)});
}

/// k and v as the reference of a method encodes them; q as f32.
void add_encoded(XXH3_state_t* all, const fixed_problem& what, const char* method) {
  constexpr auto type = kernels::dtype::f32;
  const auto how = kernels::parse_recipe(method, type);
  if (!how)
    return;
  const auto& of = what.of;
  const auto q = what.bytes_of(what.q, type);
  plane_bytes planes[2];
  kernels::attention::encoded_tensor sides[2];
  for (const int i : {0, 1}) {
    const auto values = what.bytes_of(i == 0 ? what.k : what.v, type);
    planes[i] = planes_for(*how, of.keys, of.head_size);
    auto out = pointers_to(planes[i]);
    const auto count = how->row->shape(*how, of.head_size).planes_count;
    const auto done = how->row->encode_reference(
      *how, {values.data(), type, of.keys, of.head_size}, {}, {out.data(), count});
    XXH3_64bits_update(all, &done.code, sizeof done.code);
    sides[i] = kernels::attention::encoded_tensor::packed(*how, 1, 1, of.keys, of.head_size);
    std::copy_n(out.begin(), out.size(), sides[i].planes.begin());
  }
  kernels::attention::inputs in{what.rows(q, type, of.heads, of.queries), {}, {}};
  in.k.encoded = &sides[0];
  in.v.encoded = &sides[1];
  add_attention(all, what, type, in);
}

/// `add(state)` hashes; 16 hexadecimal digits come out.
template <class Add>
std::string digits_of(const Add& add) {
  auto* all = XXH3_createState();
  XXH3_64bits_reset(all);
  add(all);
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx",
                static_cast<unsigned long long>(XXH3_64bits_digest(all)));
  XXH3_freeState(all);
  return digits;
}

} // namespace

const std::string& attention_answer() {
  static const auto answer = digits_of([](XXH3_state_t* all) {
    for (const std::size_t queries : {std::size_t{2}, std::size_t{24}}) { // each way has its tiles
      const fixed_problem what(queries);
      for (const auto type : {kernels::dtype::f32, kernels::dtype::f16, kernels::dtype::bf16})
        add_plain(all, what, type);
      add_encoded(all, what, "q8_0");
    }
  });
  return answer;
}

std::string known_answer(kernels::path which) {
  return known_answer([which](const auto& recipe, const auto& in, const auto& numbers, auto out) {
    return which == kernels::path::reference
             ? recipe.row->encode_reference(recipe, in, numbers, out)
             : recipe.row->encode_simd(recipe, in, numbers, out);
  });
}

std::string known_answer(const encode_way& way) {
  return digits_of([&](XXH3_state_t* all) {
    for (const auto& method : kernels::methods())
      add_answer(all, method, way);
  });
}

namespace {

std::string words_with(const std::string& answer) {
  return std::string("viva ") + version + ", " + frames_version + ", answer " + answer;
}

} // namespace

std::string ready_words(const encode_way& way) {
  return words_with(known_answer(way));
}

std::string ready_words(kernels::path which) {
  return words_with(known_answer(which));
}

} // namespace viva::actors
