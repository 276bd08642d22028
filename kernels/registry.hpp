#pragma once

// The registry: every method, one row each. Command line, plan, lanes, tests, bench and the README
// table walk `methods()` and know no method by name.
//
// A method with its options resolved for one tensor is a `recipe`. An encoded tensor is one or more
// planes; `geometry` says how many bytes each plane has for any run of rows, so a plan fixes every
// output offset before any work. Kernels fill planes; a layout (formats/) places them in files.
//
// A run of rows is encodable alone when its first row is a multiple of `rows_grain`; the last run
// may be shorter. Encoding a tensor run by run gives the same bytes as encoding it whole.

#include "kernels/dtype.hpp"
#include "kernels/error.hpp"
#include "kernels/exact_sum.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace viva::kernels {

enum class path : std::uint8_t { reference, simd, cuda };

/// One plane of an encoded tensor, as a rule from rows to bytes.
struct plane {
  std::string_view name; ///< "codes", "scales", "absmax", …
  /// What one unit stands for: a run of values in flat order (blocks may cross rows), some rows, or
  /// the whole tensor. A unit of the whole tensor is written by every run, with the same bytes.
  enum class unit_kind : std::uint8_t { values, row, tensor } unit = unit_kind::values;
  std::uint32_t unit_values = 0; ///< Values per unit; only for `values`.
  std::uint32_t unit_bytes = 0;  ///< Bytes per unit.
  std::uint32_t unit_rows = 1;   ///< Rows per unit; only for `row`. Divides the grain.

  /// Bytes before row `row` of a tensor with `cols` columns; `row` is a multiple of the grain.
  std::uint64_t offset(std::uint64_t row, std::uint64_t cols) const noexcept;
  /// Bytes of rows [first, first + count); a last, partial unit counts whole.
  std::uint64_t bytes(std::uint64_t first, std::uint64_t count, std::uint64_t cols) const noexcept;
};

inline constexpr std::size_t planes_max = 4;

struct geometry {
  std::array<plane, planes_max> planes{};
  std::size_t planes_count = 0;
  std::uint64_t rows_grain = 1; ///< Runs start at multiples of this.
  std::span<const plane> all() const& noexcept {
    return {planes.data(), planes_count};
  }
  std::span<const plane> all() && = delete; ///< A range-for over it would outlive the planes.
};

/// What a method may ask of the whole tensor before it can encode: merged exactly over runs.
struct survey {
  std::uint64_t count = 0; ///< Units surveyed (for nf4-dq: block maxima).
  exact_sum sum;           ///< Sum over units.
  float max = 0;           ///< Largest magnitude.
  void merge(const survey& other) noexcept;
};

/// The numbers a survey ends in, for every encode and decode of the tensor; a method's own affair.
struct tensor_numbers {
  std::array<float, 2> values{};
  friend bool operator==(const tensor_numbers&, const tensor_numbers&) = default;
};

struct method;

/// A method, its options and the source type, checked to fit together.
struct recipe {
  const method* row = nullptr;
  dtype source = dtype::f32; ///< Type of the source; some methods keep their scales in it.
  std::uint32_t block = 0;   ///< Values per scale; 0 where the method has none.
  std::uint32_t flags = 0;   ///< Method's own option bits.
  /// How much each column matters (E[x^2] of the inputs it meets), for methods that weigh their
  /// errors; one number per column, or empty where all weigh the same. Owned by the plan.
  std::span<const float> channels = {};

  std::string name() const;                     ///< Canonical spelling, as `parse_recipe` takes it.
  std::uint64_t cols_multiple() const noexcept; ///< Columns must divide by this.
};

/// What may follow a method's name after colons: one size and any of its flags.
struct option_rules {
  struct flag {
    std::string_view name;
    std::uint32_t bit = 0; ///< In recipe::flags.
  };
  std::string_view size_key;            ///< "block"; empty where the size is fixed.
  std::span<const std::uint32_t> sizes; ///< Values for recipe::block, the default first.
  std::span<const flag> flags;
  bool whole_blocks = false; ///< A row is whole blocks: columns must divide by the size.
};

/// Encodes rows into planes sized by `geometry`. `out[i]` points at the first byte of plane i for
/// this run. Refuses NaN and infinity with the first position, before writing anything that counts.
using encode_fn = status(const recipe&, const matrix& in, const tensor_numbers&,
                         std::span<std::byte* const> out) noexcept;

/// Decodes rows to f32, out shape (rows, cols). `malformed` where bytes cannot be the method's.
using decode_fn = status(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                         std::span<const std::byte* const> in, float* out) noexcept;

/// Adds a run of rows to the survey of its tensor.
using survey_fn = status(const recipe&, const matrix& in, survey&) noexcept;

struct method {
  std::string_view name;      ///< "nf4"
  std::string_view summary;   ///< One line for --help and the README.
  std::string_view layouts;   ///< Layouts it can be written in, space separated, default first.
  std::string_view options{}; ///< Option grammar for --help; empty where there is none.
  std::uint64_t cols_multiple = 1; ///< Columns must divide by this, by its default options.
  double sqnr_db_normal;           ///< SQNR on N(0,1), 1024 x 512; tests hold it to this.
  option_rules rules{};
  geometry (*shape)(const recipe&, std::uint64_t cols);
  encode_fn* encode_reference;
  encode_fn* encode_simd;
  decode_fn* decode_reference;
  decode_fn* decode_simd;
  survey_fn* survey_run = nullptr; ///< Null: no pass over the whole tensor is needed.
  tensor_numbers (*survey_finish)(const recipe&, const survey&) = nullptr;
  /// Tensors that an engine fuses into one (q, k and v) must have the same numbers.
  bool numbers_shared = false;
  /// SQNR on N(0,1), by integration (normal_theory.hpp), which 6.02 N + 1.76 is not.
  double (*sqnr_db_theory)(const recipe&, std::uint64_t rows, std::uint64_t cols);
};

std::span<const method> methods() noexcept;
const method* find_method(std::string_view name) noexcept;
/// "nf4", "nf4:block=128", …: name, then options after colons. Errors name the part that is wrong
/// and what would be right.
expected<recipe> parse_recipe(std::string_view text, dtype source);

/// Bits per weight of a (rows, cols) tensor, every plane counted.
double bits_per_weight(const recipe&, std::uint64_t rows, std::uint64_t cols);

struct error_sums;
/// Encodes rows and, where `sums` is given, measures the error in the same pass: each run of rows
/// is encoded, decoded and measured while it lies in cache, so the source is read from memory once.
/// Scratch (a few hundred KiB, or one grain of rows) is thread-local and kept.
status encode_and_measure(const recipe&, const matrix& in, const tensor_numbers&,
                          std::span<std::byte* const> out, error_sums* sums,
                          path which = path::simd);

/// The Highway target the SIMD paths take on this machine ("AVX2", …).
std::string_view simd_target() noexcept;

} // namespace viva::kernels
