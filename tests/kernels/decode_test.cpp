// Decoders meet bytes that no encoder wrote: every path refuses the same ones and has the same
// values for the others.

#include "tests/kernels/data.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/kernels/targets.hpp"

#include <algorithm>
#include <cstring>

namespace viva::kernels::testing {

namespace {

struct decoded {
  status done;
  std::vector<float> values;
};

decoded decode(decode_fn* by, const recipe& with, const tensor& source,
               const tensor_numbers& numbers, const planes& from) {
  decoded made{{}, std::vector<float>(source.rows * source.cols)};
  made.done = by(with, source.rows, source.cols, numbers, from.pointers(), made.values.data());
  return made;
}

/// The same bits, or no number on both sides: an infinite factor makes NaN of any sign.
bool same(float a, float b) {
  return bits_of(a) == bits_of(b) || (a != a && b != b);
}

/// Overwrites a few bytes, most of them in the planes behind the codes, where scales lie.
void damage(planes& bytes, std::mt19937& random) {
  constexpr std::uint8_t special[] = {0x00, 0x7F, 0x80, 0xFF, 0x7C, 0xFC, 0x7E};
  for (auto faults = random() % 4; faults-- > 0;) {
    auto& plane = bytes.each[random() % 3 == 0 ? 0 : random() % bytes.each.size()];
    if (plane.empty())
      continue;
    if (random() % 3 == 0) { // a NaN of every type
      const auto at = random() % plane.size() / 4 * 4;
      std::fill_n(plane.begin() + static_cast<std::ptrdiff_t>(at),
                  std::min<std::size_t>(4, plane.size() - at), std::byte{0xFF});
      continue;
    }
    const auto at = random() % 5 == 0 ? plane.size() - 1 : random() % plane.size();
    plane[at] = std::byte{random() % 2 == 0 ? special[random() % std::size(special)]
                                            : static_cast<std::uint8_t>(random())};
  }
}

} // namespace

TEST_CASE("damaged bytes are refused or decoded alike on every target", "[method][edge][simd]") {
  std::mt19937 random(11);
  for (const auto& row : methods()) {
    std::size_t refused = 0, taken = 0;
    for (const auto type : {dtype::f32, dtype::f16, dtype::bf16}) {
      const auto with = recipe_of(row.name, type);
      const std::size_t cols = cols_of(row, 192), rows = 5;
      const auto source =
          make_tensor(values_of(data_sets().front(), rows * cols, type, 3), type, rows, cols);
      const auto numbers = numbers_of(with, source.view());
      planes whole(with, rows, cols);
      REQUIRE(row.encode_reference(with, source.view(), numbers, whole.pointers()) == status{});
      for (int trial = 0; trial < 60; ++trial) {
        auto bytes = whole;
        damage(bytes, random);
        INFO(row.name << ", " << name_of(type) << ", trial " << trial);
        const auto wanted = decode(row.decode_reference, with, source, numbers, bytes);
        for_each_target([&] {
          const auto made = decode(row.decode_simd, with, source, numbers, bytes);
          REQUIRE(made.done.code == wanted.done.code);
          if (wanted.done)
            REQUIRE(std::ranges::equal(made.values, wanted.values, same));
        });
        ++(wanted.done ? taken : refused);
      }
    }
    INFO(row.name << ": " << refused << " refused, " << taken << " taken");
    REQUIRE(taken > 0);
    REQUIRE((refused > 0 || row.name == "sparse24-dense"));
  }
}

/// Each scale of one byte that there is, beside each code.
TEST_CASE("four-bit floats have the reference's values by every scale", "[method][simd]") {
  struct layout {
    std::string_view method;
    std::size_t values, scales, plane; ///< Values of a scale, scales of a block, plane of scales.
  };
  constexpr std::size_t blocks = 256;
  for (const auto& [name, values, scales, plane] :
       {layout{"nvfp4", 16, 1, 1}, layout{"mxfp4", 32, 1, 1}, layout{"mxfp4-ggml", 32, 1, 0},
        layout{"nvfp4-ggml", 16, 4, 0}}) {
    const auto with = recipe_of(name, dtype::f32);
    const std::size_t cols = blocks * values;
    const auto source = make_tensor(std::vector<float>(cols, 1.0f), dtype::f32, 1, cols);
    const auto numbers = numbers_of(with, source.view());
    planes bytes(with, 1, cols);
    REQUIRE(with.row->encode_reference(with, source.view(), numbers, bytes.pointers()) == status{});
    std::mt19937 random(5);
    if (plane == 1)
      for (auto& pair : bytes.each[0])
        pair = static_cast<std::byte>(random());
    for (std::size_t b = 0; b < blocks; ++b) {
      const std::size_t of_block = plane == 1 ? 1 : scales * (1 + values / 2);
      auto* at = bytes.each[plane].data() + b / scales * of_block;
      const bool is_nan = name.starts_with("nv") ? (b & 0x7F) == 0x7F : b == 255;
      const bool is_negative = name == "nvfp4-ggml" && b > 127; // has no sign
      at[b % scales] = static_cast<std::byte>(is_nan || is_negative ? 1 : b);
      if (plane == 0)
        for (std::size_t j = 0; j < values / 2; ++j)
          at[scales + b % scales * values / 2 + j] = static_cast<std::byte>(random());
    }
    INFO(name);
    const auto wanted = decode(with.row->decode_reference, with, source, numbers, bytes);
    REQUIRE(wanted.done == status{});
    for_each_target([&] {
      const auto made = decode(with.row->decode_simd, with, source, numbers, bytes);
      REQUIRE(made.done == status{});
      REQUIRE(std::memcmp(made.values.data(), wanted.values.data(), 4 * cols) == 0);
    });
  }
}

} // namespace viva::kernels::testing
