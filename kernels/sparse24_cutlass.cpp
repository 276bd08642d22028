#include "kernels/sparse24_cutlass.hpp"

#include "kernels/scalar.hpp"
#include "kernels/scratch.hpp"

#include <algorithm>
#include <array>
#include <type_traits>

namespace viva::kernels::sparse24_cutlass {

namespace {

using sparse24::group;
using sparse24::mask_bytes;

constexpr std::byte zero_byte{0xEE}; ///< Nibbles of two groups of zeros.

/// The nibble of each bitmask whose values are all but zero.
constexpr auto nibbles_of_bits = [] {
  std::array<std::uint8_t, 16> nibbles{};
  for (unsigned bits = 0; bits < 16; ++bits)
    nibbles[bits] = static_cast<std::uint8_t>(nibble_of(bits));
  return nibbles;
}();

/// Bitmask of each nibble: 0 where its indices do not ascend.
constexpr auto nibble_bits = [] {
  std::array<std::uint8_t, 16> bits{};
  for (unsigned nibble = 0; nibble < 16; ++nibble) {
    bits[nibble] = static_cast<std::uint8_t>(bits_of_nibble(nibble));
  }
  return bits;
}();

/// Both nibbles of a byte of the bitmask and its four kept values.
template <class Bits>
std::byte settle_byte(std::byte* kept, std::byte mask) noexcept {
  const auto bits = static_cast<unsigned>(mask);
  const auto values = load_as<std::array<Bits, 4>>(kept);
  if (!(is_zero(values[0]) || is_zero(values[1]) || is_zero(values[2]) || is_zero(values[3])))
    return static_cast<std::byte>(nibbles_of_bits[bits & 15u] | nibbles_of_bits[bits >> 4] << 4);
  const unsigned low = settle<Bits>(kept, bits & 15u);
  return static_cast<std::byte>(low | settle<Bits>(kept + 2 * sizeof(Bits), bits >> 4) << 4);
}

/// Where the bytes of one row's metadata lie, two bytes or four of a word after each other.
class row_places {
public:
  row_places(std::size_t row, std::size_t value_bytes, std::size_t cols) noexcept
      : x_word_bytes(word_nibbles(value_bytes) / 2), x_slab(row / slab_rows * slab_rows * cols / 8),
        x_even(word_place(row % slab_rows, 0)), x_odd(word_place(row % slab_rows, 1)) {}

  /// Calls body(at, b) for each byte b of the row's bitmask, `at` being its metadata's place.
  template <class Body>
  void for_each(std::size_t bytes, Body&& body) const noexcept {
    for (std::size_t b = 0, pair = x_slab; b < bytes; pair += 2 * slab_rows * x_word_bytes)
      for (const auto place : {x_even, x_odd})
        for (std::size_t i = 0; i < x_word_bytes; ++i, ++b)
          body(pair + place * x_word_bytes + i, b);
  }

  /// Calls body(at, b) for each word of the row, b being its first byte; words have WordBytes.
  template <std::size_t WordBytes, class Body>
  void for_each_word(std::size_t bytes, Body&& body) const noexcept {
    const auto even = x_slab + x_even * WordBytes, odd = x_slab + x_odd * WordBytes;
    for (std::size_t b = 0, pair = 0; b < bytes; b += 2 * WordBytes) {
      body(even + pair, b);
      body(odd + pair, b + WordBytes);
      pair += 2 * slab_rows * WordBytes;
    }
  }

private:
  std::size_t x_word_bytes, x_slab, x_even, x_odd;
};

template <class Bits>
void write_rows(std::byte* kept, const std::byte* bitmask, std::size_t rows, std::size_t cols,
                std::byte* metadata) noexcept {
  for (std::size_t r = 0; r < rows; ++r, bitmask += cols / 8, kept += cols / 2 * sizeof(Bits))
    row_places(r, sizeof(Bits), cols).for_each(cols / 8, [&](std::size_t at, std::size_t b) {
      metadata[at] = settle_byte<Bits>(kept + b * 4 * sizeof(Bits), bitmask[b]);
    });
}

/// The same, one group at a time, each at the place that the header gives.
template <class Bits>
void write_rows_reference(std::byte* kept, const std::byte* bitmask, std::size_t rows,
                          std::size_t cols, std::byte* metadata) noexcept {
  const std::size_t nibbles = word_nibbles(sizeof(Bits));
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t g = 0; g < cols / group; ++g) {
      const auto mask = static_cast<unsigned>(bitmask[r * (cols / 8) + g / 2]) >> g % 2 * 4 & 15u;
      const unsigned nibble = settle<Bits>(kept + (r * cols / 2 + g * 2) * sizeof(Bits), mask);
      const std::size_t word = word_place(r % slab_rows, g / nibbles);
      auto* at =
          metadata + r / slab_rows * slab_rows * cols / 8 + (word * nibbles + g % nibbles) / 2;
      *at = g % 2 == 0 ? static_cast<std::byte>(nibble) : *at | static_cast<std::byte>(nibble << 4);
    }
}

/// Rows of metadata, each after the other, to their places (To) or from there.
template <std::size_t WordBytes, bool To>
void move_words(std::byte* rows_of_nibbles, std::size_t rows, std::size_t cols,
                std::conditional_t<To, std::byte*, const std::byte*> metadata) noexcept {
  for (std::size_t r = 0; r < rows; ++r, rows_of_nibbles += cols / 8)
    row_places(r, WordBytes == 4 ? 1 : 2, cols)
        .for_each_word<WordBytes>(cols / 8, [&](std::size_t at, std::size_t b) {
          if constexpr (To)
            std::memcpy(metadata + at, rows_of_nibbles + b, WordBytes);
          else
            std::memcpy(rows_of_nibbles + b, metadata + at, WordBytes);
        });
}

/// Metadata of the rows that are wanting to whole 64.
void fill_up(std::size_t value_bytes, std::size_t rows, std::size_t cols,
             std::byte* metadata) noexcept {
  for (std::size_t r = rows; r % slab_rows != 0; ++r)
    row_places(r, value_bytes, cols).for_each(cols / 8, [&](std::size_t at, std::size_t) {
      metadata[at] = zero_byte;
    });
}

constexpr std::size_t cols_multiple(std::size_t value_bytes) noexcept {
  return 2 * group * word_nibbles(value_bytes);
}

/// Bitmasks of 64 rows; null where there is no memory.
std::byte* slab_mask(std::size_t cols) noexcept {
  static thread_local scratch memory;
  return memory.of<std::byte>(slab_rows * mask_bytes(cols));
}

status encode(path which, const recipe& with, const matrix& in,
              std::span<std::byte* const> out) noexcept {
  const auto value_bytes = bytes_of(in.type);
  if (in.cols % cols_multiple(value_bytes) != 0)
    return {errc::bad_shape};
  auto* const bitmask = slab_mask(in.cols);
  if (bitmask == nullptr)
    return {errc::over_budget};
  for (std::size_t first = 0; first < in.rows; first += slab_rows) {
    const auto slab = in.slice(first, std::min(slab_rows, in.rows - first));
    auto* const kept = out[0] + first * in.cols / 2 * value_bytes;
    bool keeps_zeros = true;
    if (auto done = sparse24::prune(which, with, slab, kept, bitmask, &keeps_zeros); !done) {
      done.position += first * in.cols;
      return done;
    }
    auto* const metadata = out[1] + first * in.cols / 8;
    if (keeps_zeros) {
      write_metadata(which, kept, value_bytes, bitmask, slab.rows, in.cols, metadata);
    } else {
      sparse24::map_nibbles(nibbles_of_bits, bitmask, slab.rows * in.cols / 8);
      move_words<2, true>(bitmask, slab.rows, in.cols, metadata);
      fill_up(value_bytes, slab.rows, in.cols, metadata);
    }
  }
  return {};
}

status decode(path which, const recipe& with, std::size_t rows, std::size_t cols,
              std::span<const std::byte* const> in, float* out) noexcept {
  const auto value_bytes = bytes_of(with.source);
  if (cols % cols_multiple(value_bytes) != 0)
    return {errc::bad_shape};
  auto* const bitmask = slab_mask(cols);
  if (bitmask == nullptr)
    return {errc::over_budget};
  const bool past_cache = which == path::simd && sparse24::spreads_past_cache(rows, cols, out);
  for (std::size_t first = 0; first < rows; first += slab_rows) {
    const std::size_t count = std::min(slab_rows, rows - first);
    read_metadata(in[1] + first * cols / 8, value_bytes, count, cols, bitmask);
    if (const auto done =
            sparse24::spread(which, in[0] + first * cols / 2 * value_bytes, with.source, bitmask,
                             count, cols, past_cache, out + first * cols);
        !done)
      return done;
  }
  return {};
}

} // namespace

plane metadata_plane(std::uint64_t cols) noexcept {
  return {.name = "metadata",
          .unit = plane::unit_kind::row,
          .unit_bytes = static_cast<std::uint32_t>(slab_rows * mask_bytes(cols)),
          .unit_rows = slab_rows};
}

void write_metadata(path which, std::byte* kept, std::size_t value_bytes, const std::byte* bitmask,
                    std::size_t rows, std::size_t cols, std::byte* metadata) noexcept {
  const bool slow = which == path::reference;
  const auto write =
      value_bytes == 1   ? slow ? write_rows_reference<std::uint8_t> : write_rows<std::uint8_t>
        : value_bytes == 2 ? slow ? write_rows_reference<std::uint16_t> : write_rows<std::uint16_t>
        : slow ? write_rows_reference<std::uint32_t>
                         : write_rows<std::uint32_t>;
  write(kept, bitmask, rows, cols, metadata);
  fill_up(value_bytes, rows, cols, metadata);
}

void read_metadata(const std::byte* metadata, std::size_t value_bytes, std::size_t rows,
                   std::size_t cols, std::byte* bitmask) noexcept {
  (value_bytes == 1 ? move_words<4, false> : move_words<2, false>)(bitmask, rows, cols, metadata);
  sparse24::map_nibbles(nibble_bits, bitmask, rows * cols / 8);
}

geometry shape(const recipe& with, std::uint64_t cols) {
  const auto bytes = static_cast<std::uint32_t>(bytes_of(with.source));
  return {.planes = {plane{"values", plane::unit_kind::values, 2, bytes}, metadata_plane(cols)},
          .planes_count = 2,
          .rows_grain = slab_rows};
}

status encode_reference(const recipe& with, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept {
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  return encode(path::reference, with, in, out);
}

status encode_simd(const recipe& with, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  return encode(path::simd, with, in, out);
}

status decode_reference(const recipe& with, std::size_t rows, std::size_t cols,
                        const tensor_numbers&, std::span<const std::byte* const> in,
                        float* out) noexcept {
  return decode(path::reference, with, rows, cols, in, out);
}

status decode_simd(const recipe& with, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  return decode(path::simd, with, rows, cols, in, out);
}

} // namespace viva::kernels::sparse24_cutlass
