// 2:4 pruning: published bytes, the rule on every pattern of ties, what is kept bit for bit, and
// the metadata of sparse tensor cores at the places that CUTLASS gives it.

#include "kernels/scalar.hpp"
#include "kernels/sparse24_cutlass.hpp"
#include "tests/kernels/data.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/kernels/targets.hpp"

#include <rapidcheck.h>

#include <algorithm>
#include <bit>
#include <numeric>

namespace viva::kernels::testing {

namespace {

planes encode(const recipe& with, const matrix& in, path which) {
  planes out(with, in.rows, in.cols);
  const auto encoder =
      which == path::reference ? with.row->encode_reference : with.row->encode_simd;
  REQUIRE(encoder(with, in, {}, out.pointers()) == status{});
  return out;
}

tensor bf16_source() {
  return make_tensor(generate(32768, 2024), dtype::bf16, 64, 512);
}

/// Whether column c of row r is kept, by a bitmask.
bool is_kept(const std::vector<std::byte>& bitmask, std::size_t cols, std::size_t r,
             std::size_t c) {
  const auto byte = static_cast<unsigned>(bitmask[r * sparse24::mask_bytes(cols) + c / 8]);
  return (byte >> c % 8 & 1u) != 0;
}

/// Values that tie often and are zero often.
std::vector<float> small_integers(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (auto& x : values)
    x = static_cast<float>(static_cast<int>(random() % 5) - 2) * (random() % 2 ? 1.0f : -1.0f);
  return values;
}

/// CUTLASS's place of word (r, c) in a matrix of `rows` rows, as PyTorch writes it down.
std::size_t cutlass_place(std::size_t rows, std::size_t r, std::size_t c, std::size_t group_y) {
  auto row = static_cast<int>(r / 64 * 64 + r % 2 * 2 + r % 8 / 4 + r % group_y % 4 / 2 * 32
                              + r % 64 / 8 * 4);
  auto col = static_cast<int>(c);
  const int top_right = row % 2 == 0 && col % 2 == 1 ? 1 : 0;
  const int bottom_left = row % 2 == 1 && col % 2 == 0 ? 1 : 0;
  row += top_right - bottom_left;
  col -= top_right - bottom_left;
  return static_cast<std::size_t>(col / 2) * rows * 2 + static_cast<std::size_t>(row) * 2
         + static_cast<std::size_t>(col % 2);
}

} // namespace

TEST_CASE("sparse24 writes the bytes of compressed-tensors' bitmask", "[golden][sparse24]") {
  const auto which = GENERATE(path::reference, path::simd);
  const auto source = bf16_source();
  const auto made = encode(recipe_of("sparse24", dtype::bf16), source.view(), which);
  REQUIRE(golden_hash(made.each[0]) == 0x77cf69063f9c1ce2u);
  REQUIRE(golden_hash(made.each[1]) == 0x6d72c4c3cf743629u);
}

TEST_CASE("sparse24-cutlass writes PyTorch's bytes of 64 rows", "[golden][sparse24]") {
  const auto which = GENERATE(path::reference, path::simd);
  const auto bf16 = bf16_source();
  std::vector<float> values(bf16.view().values());
  load_f32(bf16.bytes.data(), dtype::bf16, values.size(), values.data());
  const auto source = make_tensor(values, dtype::f16, 64, 512);
  const auto made = encode(recipe_of("sparse24-cutlass", dtype::f16), source.view(), which);
  REQUIRE(golden_hash(made.each[0]) == 0xfd18557b1d68885au);
  REQUIRE(golden_hash(made.each[1]) == 0xfbcc53d049ee113cu);
  REQUIRE(load_as<std::uint16_t>(made.each[1].data()) == 0xe9d4);
}

TEST_CASE("sparse24-cutlass+int8 writes PyTorch's bytes of 64 rows", "[golden][sparse24]") {
  const auto which = GENERATE(path::reference, path::simd);
  const auto source = bf16_source();
  const auto made = encode(recipe_of("sparse24-cutlass+int8", dtype::bf16), source.view(), which);
  REQUIRE(golden_hash(made.each[0]) == 0xa4b11594d6e6839au);
  REQUIRE(golden_hash(made.each[2]) == 0xce1a7941cc69aefeu);
  REQUIRE(load_as<std::uint32_t>(made.each[2].data()) == 0xee89e9d4u);
}

TEST_CASE("of equal scores the lower column's value is kept", "[sparse24]") {
  const auto kept = [](std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
    return sparse24::kept_of({a, b, c, d});
  };
  REQUIRE(kept(0, 0, 0, 0) == 0b0011);
  REQUIRE(kept(1, 1, 1, 2) == 0b1001);
  REQUIRE(kept(1, 2, 2, 2) == 0b0110);
  REQUIRE(kept(3, 0, 0, 3) == 0b1001);
  REQUIRE(kept(0, 0, 1, 0) == 0b0101);
  REQUIRE(kept(4, 3, 2, 1) == 0b0011);
  REQUIRE(kept(1, 2, 3, 4) == 0b1100);
}

TEST_CASE("every pattern of ties in a group is pruned alike on every target", "[sparse24][simd]") {
  std::vector<float> values; // all 4^4 groups of magnitudes 0 … 3, of both signs
  for (unsigned i = 0; i < 512; ++i)
    for (unsigned k = 0; k < 4; ++k)
      values.push_back(static_cast<float>(i >> 2 * k & 3u) * (i < 256 ? 1.0f : -1.0f));
  for (const auto type : {dtype::f32, dtype::f16, dtype::bf16})
    for (const std::string_view name : {"sparse24", "sparse24-dense", "sparse24-cutlass"}) {
      const auto source = make_tensor(values, type, 64, 32);
      const auto with = recipe_of(name, type);
      const auto wanted = encode(with, source.view(), path::reference);
      INFO(name << ", " << kernels::name_of(type));
      for_each_target([&] { REQUIRE(encode(with, source.view(), path::simd) == wanted); });
    }
}

TEST_CASE("two of each four are kept bit for bit, and no other two weigh more", "[sparse24]") {
  for (const auto type : {dtype::f32, dtype::f16, dtype::bf16}) {
    const auto with = recipe_of("sparse24", type);
    const bool held = rc::check([&] {
      const std::size_t cols = 4 * *rc::gen::inRange<std::size_t>(1, 40);
      const auto& sets = data_sets();
      const auto& set = sets[*rc::gen::inRange<std::size_t>(0, sets.size())];
      const auto seed = *rc::gen::arbitrary<std::uint32_t>();
      const auto source = make_tensor(values_of(set, 2 * cols, type, seed), type, 2, cols);
      const auto made = encode(with, source.view(), path::simd);
      std::size_t next = 0;
      const auto width = bytes_of(type);
      for (std::size_t g = 0; g < 2 * cols; g += 4) {
        std::array<float, 4> magnitudes{};
        double kept = 0;
        unsigned count = 0;
        for (std::size_t i = 0; i < 4; ++i) {
          magnitudes[i] = magnitude(value_of(source.view(), g + i));
          if (!is_kept(made.each[1], cols, g / cols, (g + i) % cols))
            continue;
          ++count;
          kept += static_cast<double>(magnitudes[i]);
          RC_ASSERT(std::memcmp(made.each[0].data() + next++ * width,
                                source.bytes.data() + (g + i) * width, width)
                    == 0);
        }
        std::ranges::sort(magnitudes, std::greater{});
        RC_ASSERT(count == 2u);
        RC_ASSERT(kept == static_cast<double>(magnitudes[0]) + static_cast<double>(magnitudes[1]));
      }
    });
    REQUIRE(held);
  }
}

TEST_CASE("with channels the score is |x| sqrt(channel), alike on every target",
          "[sparse24][channels]") {
  constexpr std::size_t rows = 65;
  std::mt19937 random(5);
  for (const std::size_t cols : {32, 64, 1024, 2080})
    for (const auto type : {dtype::f32, dtype::f16, dtype::bf16}) {
      std::vector<float> channels(cols);
      for (auto& each : channels)
        each = random() % 8 == 0 ? 0.0f : static_cast<float>(random() % 1000);
      const auto values = values_of(data_sets().front(), rows * cols, type, 3);
      const auto source = make_tensor(values, type, rows, cols);
      for (const std::string_view name : {"sparse24", "sparse24-dense", "sparse24-cutlass"}) {
        auto with = recipe_of(name, type);
        const auto plain = encode(with, source.view(), path::reference);
        with.channels = channels;
        const auto wanted = encode(with, source.view(), path::reference);
        REQUIRE_FALSE(wanted == plain);
        for_each_target([&] { REQUIRE(encode(with, source.view(), path::simd) == wanted); });
      }
      auto with = recipe_of("sparse24", type);
      with.channels = channels;
      const auto made = encode(with, source.view(), path::simd);
      for (std::size_t c = 0; c < cols; c += 4) { // the first row, by sorting
        std::array<std::size_t, 4> order{c, c + 1, c + 2, c + 3};
        std::ranges::stable_sort(order, std::greater{}, [&](std::size_t at) {
          return magnitude(value_of(source.view(), at)) * std::sqrt(channels[at]);
        });
        REQUIRE(is_kept(made.each[1], cols, 0, order[0]));
        REQUIRE(is_kept(made.each[1], cols, 0, order[1]));
      }
    }
}

TEST_CASE("equal channels prune as none do", "[sparse24][channels]") {
  const std::vector<float> channels(96, 4.0f); // an exact root
  const auto source = make_tensor(small_integers(5 * 96, 7), dtype::bf16, 5, 96);
  auto with = recipe_of("sparse24", dtype::bf16);
  const auto plain = encode(with, source.view(), path::simd);
  with.channels = channels;
  REQUIRE(encode(with, source.view(), path::simd) == plain);
  with.channels = std::span(channels).first(95);
  planes out(with, 5, 96);
  REQUIRE(with.row->encode_simd(with, source.view(), {}, out.pointers()).code == errc::bad_shape);
  REQUIRE(with.row->encode_reference(with, source.view(), {}, out.pointers()).code
          == errc::bad_shape);
}

TEST_CASE("every form of 2:4 decodes to the same values", "[sparse24]") {
  for (const auto type : {dtype::f32, dtype::f16, dtype::bf16})
    for_each_target([&] {
      const auto source = make_tensor(small_integers(70 * 96, 3), type, 70, 96);
      std::vector<std::vector<float>> decoded;
      for (const std::string_view name : {"sparse24", "sparse24-dense", "sparse24-cutlass"}) {
        const auto with = recipe_of(name, type);
        const auto made = encode(with, source.view(), path::simd);
        decoded.emplace_back(70 * 96);
        REQUIRE(with.row->decode_simd(with, 70, 96, {}, made.pointers(), decoded.back().data())
                == status{});
      }
      REQUIRE(decoded[0] == decoded[1]); // as numbers: a kept -0 may become +0 in the metadata form
      REQUIRE(decoded[0] == decoded[2]);
    });
}

TEST_CASE("a stack is its method on the kept values", "[sparse24]") {
  const auto type = GENERATE(dtype::f32, dtype::bf16);
  const auto source = make_tensor(values_of(data_sets().front(), 70 * 256, type, 3), type, 70, 256);
  const auto pruned = encode(recipe_of("sparse24", type), source.view(), path::simd);
  const matrix kept{pruned.each[0].data(), type, 70, 128};
  const std::pair<std::string, std::string> stacks[] = {
      {"sparse24+int8", "int8"},
      {"sparse24+nf4", "nf4-f16"},
      {"sparse24+nf4:block=32", "nf4-f16:block=32"},
      {"sparse24+nf4-dq", "nf4-dq"}, // whose offset is 0 here
      {"sparse24+int4", "int4"},
      {"sparse24+int4:group=32:asym:search", "int4:group=32:asym:search"}};
  for (const auto& [stack, method] : stacks) {
    const auto stacked = encode(recipe_of(stack, type), source.view(), path::simd);
    const auto alone = encode(recipe_of(method, type), kept, path::simd);
    INFO(stack);
    REQUIRE(stacked.each.size() == alone.each.size() + 1);
    REQUIRE(std::equal(alone.each.begin(), alone.each.end(), stacked.each.begin()));
    REQUIRE(stacked.each.back() == pruned.each[1]);
  }
}

TEST_CASE("64 rows' metadata is a transposition away from CUTLASS's array", "[sparse24]") {
  for (const std::size_t group_y : {16, 32}) { // of 32- and 16-bit words
    constexpr std::size_t rows = 192;
    constexpr std::size_t words = 6;
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < words; ++c) {
        const auto ours = sparse24_cutlass::word_place(r % 64, c); // of slab r / 64
        const auto theirs = ours / 128 * (rows * 2) + r / 64 * 128 + ours % 128;
        REQUIRE(theirs == cutlass_place(rows, r, c, group_y));
      }
  }
}

TEST_CASE("two slabs of metadata, transposed as the header says, are PyTorch's bytes of 128 rows",
          "[golden][sparse24]") {
  const auto which = GENERATE(path::reference, path::simd);
  const auto source = make_tensor(generate(32768, 2024), dtype::f16, 128, 256);
  const auto transposed = [&](const char* words, std::size_t plane, std::size_t word_bytes) {
    const auto made = encode(recipe_of(words, dtype::f16), source.view(), which).each[plane];
    const std::size_t pair = 128 * word_bytes, pairs = made.size() / pair / 2; // of each slab
    std::vector<std::byte> array;
    for (std::size_t p = 0; p < pairs; ++p)
      for (const std::size_t slab : {std::size_t{0}, pairs * pair})
        array.insert(array.end(), made.begin() + static_cast<long>(slab + p * pair),
                     made.begin() + static_cast<long>(slab + (p + 1) * pair));
    return golden_hash(array);
  };
  // By PyTorch's formula for 128 rows, in golden_types.py.
  REQUIRE(transposed("sparse24-cutlass", 1, 2) == 0x8c5298084808a8cfu);
  REQUIRE(transposed("sparse24-cutlass+int8", 2, 4) == 0x710ed430f611a709u);
}

TEST_CASE("metadata chooses indices by what is not zero, as PyTorch does", "[sparse24]") {
  const auto indices = [](unsigned flags) {
    const auto nibble = sparse24_cutlass::nibble_of(flags);
    return std::pair{nibble & 3u, nibble >> 2};
  };
  for (unsigned flags = 0; flags < 16; ++flags)
    if (std::popcount(flags) <= 2) {
      const auto [first, second] = indices(flags);
      REQUIRE(first < second);
      REQUIRE((flags & ~(1u << first | 1u << second)) == 0); // nothing but zeros is lost
    }
  REQUIRE(indices(0b0000) == std::pair{2u, 3u});
  REQUIRE(indices(0b0001) == std::pair{0u, 2u});
  REQUIRE(indices(0b0010) == std::pair{1u, 2u});
  REQUIRE(indices(0b0100) == std::pair{2u, 3u});
  REQUIRE(indices(0b1000) == std::pair{2u, 3u});
}

TEST_CASE("bits that are no 2:4 pattern are malformed", "[sparse24][edge]") {
  const auto refused = [](std::string_view name, std::size_t plane, std::byte bits) {
    const auto with = recipe_of(name, dtype::f16);
    const auto source = make_tensor(std::vector<float>(64 * 64, 1.0f), dtype::f16, 64, 64);
    auto made = encode(with, source.view(), path::simd);
    made.each[plane][5] = bits;
    std::vector<float> values(64 * 64);
    INFO(name);
    for (const auto decode : {with.row->decode_reference, with.row->decode_simd})
      REQUIRE(decode(with, 64, 64, {}, std::as_const(made).pointers(), values.data()).code
              == errc::malformed);
  };
  for (const unsigned bits : {0x00u, 0x31u, 0x37u, 0x3Fu, 0x13u, 0xF3u}) {
    refused("sparse24", 1, static_cast<std::byte>(bits));
    refused("sparse24+int8", 2, static_cast<std::byte>(bits));
  }
  for (const unsigned nibbles : {0x00u, 0xE1u, 0x5Eu, 0xFEu, 0x2Eu}) {
    refused("sparse24-cutlass", 1, static_cast<std::byte>(nibbles));
    refused("sparse24-cutlass+int8", 2, static_cast<std::byte>(nibbles));
  }
}

TEST_CASE("a row that ends within a byte of the bitmask leaves its upper bits zero",
          "[sparse24][edge]") {
  const auto source = make_tensor(std::vector<float>(2 * 12, 1.0f), dtype::f32, 2, 12);
  const auto with = recipe_of("sparse24", dtype::f32);
  auto made = encode(with, source.view(), path::simd);
  const std::vector<std::byte> wanted{std::byte{0x33}, std::byte{0x03}, std::byte{0x33},
                                      std::byte{0x03}};
  REQUIRE(made.each[1] == wanted);
  made.each[1][1] = std::byte{0x33};
  std::vector<float> values(2 * 12);
  REQUIRE(with.row->decode_simd(with, 2, 12, {}, std::as_const(made).pointers(), values.data()).code
          == errc::malformed);
}

TEST_CASE("2:4 refuses columns that are no whole groups or words", "[sparse24][edge]") {
  std::vector<std::byte> bytes(4096);
  const std::vector<std::byte*> out(4, bytes.data());
  const std::vector<const std::byte*> in(4, bytes.data());
  std::vector<float> values(2 * 66);
  const auto source = make_tensor(std::vector<float>(2 * 66, 1.0f), dtype::f32, 2, 66);
  for (const std::string_view name : {"sparse24", "sparse24-dense", "sparse24-cutlass",
                                      "sparse24+int8", "sparse24+nf4", "sparse24-cutlass+int8",
                                      "sparse24+int4", "sparse24+nf4-dq"}) {
    const auto with = recipe_of(name, dtype::f32);
    INFO(name);
    REQUIRE(with.row->encode_simd(with, source.view(), {}, out).code == errc::bad_shape);
    REQUIRE(with.row->encode_reference(with, source.view(), {}, out).code == errc::bad_shape);
    if (name == "sparse24-dense")
      continue; // any values may be read
    REQUIRE(with.row->decode_simd(with, 2, 66, {}, in, values.data()).code == errc::bad_shape);
    REQUIRE(with.row->decode_reference(with, 2, 66, {}, in, values.data()).code == errc::bad_shape);
  }
}

TEST_CASE("bits per weight of 2:4 count values, codes, scales and metadata", "[sparse24][plane]") {
  const auto bits = [](std::string_view text, dtype source) {
    return bits_per_weight(recipe_of(text, source), 1024, 512);
  };
  REQUIRE(bits("sparse24", dtype::f16) == 9.0);
  REQUIRE(bits("sparse24", dtype::f32) == 17.0);
  REQUIRE(bits("sparse24-dense", dtype::f16) == 16.0);
  REQUIRE(bits("sparse24-cutlass", dtype::bf16) == 9.0);
  REQUIRE(bits("sparse24+int8", dtype::f32) == 5.0625);
  REQUIRE(bits("sparse24-cutlass+int8", dtype::f32) == 5.0625);
  REQUIRE(bits("sparse24+nf4", dtype::f32) == 3.125);
  REQUIRE(bits("sparse24+int4", dtype::bf16) == 3.0625); // (4 + 16 / 128) / 2 + 1
  REQUIRE(bits("sparse24+int4:asym", dtype::bf16) == 3.078125); // and 4 bits a group
  REQUIRE(bits("sparse24+nf4-dq", dtype::f32) == 3.0634765625); // (4 + (8 + 1/8) / 64) / 2 + 1
}

} // namespace viva::kernels::testing
