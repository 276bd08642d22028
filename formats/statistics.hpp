#pragma once

// Statistics of what went into each linear layer while a model ran on calibration text, per input
// channel. Three kinds of file, told apart by their first bytes:
//
//   ours         safetensors, per module M: M.sum_sq F32[K] (sum of x²), M.count I64 (rows of x),
//                and where known M.sum_abs, M.abs_max F32[K]
//   imatrix      llama.cpp's GGUF: NAME.weight.in_sum2, NAME.weight.counts
//   imatrix.dat  llama.cpp's older records
//
// Entries of an imatrix are asked for by Hugging Face names; experts are slices of one entry. The
// file's index is read at once, values when a weight asks for them, so an imatrix of a large model
// costs no memory.

#include "formats/source_file.hpp"
#include "kernels/error.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace viva::formats {

/// What is known of the inputs of one weight; one number for each of its columns.
struct channel_statistics {
  std::vector<float> mean_square; ///< E[x²].
  std::vector<float> mean_abs;    ///< E|x|; sqrt(E[x²]) where the file does not know it.
  /// False where nothing reached the layer (an expert without tokens, all zeros): then every
  /// channel counts 1.
  bool measured = true;
};

/// One entry of a file's index: where its numbers lie.
struct statistics_entry {
  std::uint64_t square_sums = 0;                 ///< Offset of f32 sums of x².
  std::optional<std::uint64_t> abs_sums;         ///< Offset of f32 sums of |x|.
  std::uint64_t values = 0;                      ///< Numbers of all matrices together.
  std::uint64_t matrices = 0;                    ///< Experts; 0 where the file does not say.
  std::optional<std::uint64_t> counts;           ///< Offset of one f32 for each matrix…
  std::int64_t count = 0;                        ///< …or one number for all of them.
  std::string square_name, abs_name, count_name; ///< As the file calls them, for errors.
};

class statistics {
public:
  using index =
      std::map<std::string, statistics_entry, std::less<>>; ///< By module, as in the file.

  /// Opens a file and reads its index. Refuses what is none of the three kinds, and truncated
  /// files.
  static expected<statistics> open(const std::filesystem::path& file);

  /// True where the file knows the module ("model.layers.0.mlp.up_proj"), by whichever name.
  bool knows(std::string_view module) const noexcept;

  /// The statistics of a module whose weight has `columns` columns. Refuses a module the file does
  /// not know, another number of columns, and numbers that are negative, NaN or infinite.
  expected<channel_statistics> of(std::string_view module, std::uint64_t columns) const;

  const std::filesystem::path& path() const noexcept {
    return x_path;
  }
  /// Modules as the file names them.
  const index& modules() const noexcept {
    return x_index;
  }

private:
  statistics(std::filesystem::path path, source_file file, index modules)
      : x_path(std::move(path)), x_file(std::move(file)), x_index(std::move(modules)) {}

  struct place {
    const statistics_entry* entry = nullptr;
    std::optional<std::uint64_t> expert;
  };
  place find(std::string_view module) const noexcept;
  expected<std::uint64_t> matrix_of(const place&, std::string_view module,
                                    std::uint64_t columns) const;
  expected<std::vector<float>> sums(std::uint64_t offset, std::uint64_t columns,
                                    const std::string& name) const;
  expected<float> count_of(const statistics_entry&, std::uint64_t matrix) const;

  std::filesystem::path x_path;
  source_file x_file;
  index x_index;
};

} // namespace viva::formats
