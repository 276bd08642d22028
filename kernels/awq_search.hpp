#pragma once

// The search for the scales of awq: one for each column of the weights that share an input. Columns
// with large inputs are multiplied before rounding, and what feeds them is divided, so their errors
// count less.
//
// Source    AutoAWQ 88e4c76, _search_best_scale with duo scaling, on the diagonal proxy instead of
//           a forward pass (formats.md 4.2, 4.3):
//             loss(s) = Σ over rows n and columns k of E[x²][k] · (W[n,k] - Q(W s)[n,k] / s[k])²
//           with Q the rounding of `awq:rtn`. Exact where the inputs do not correlate.
// Passes    shares: Σ_n of |W| / (largest of its group + 1e-6), in whole 2^-24, cut off
//           scales: from the shares' means w and E|x|, for r = 0, 1/20 … 19/20
//             s = max(E|x|^r / (w^(1-r) + 1e-4), 1e-4), divided by sqrt(max s · min s); what is not
//             finite counts as 1; rounded to bf16. All ones come first: no scaling at all
//           losses: one sum for each of the candidates; the least wins, the first of equals
// Merging   shares are integers; a row's loss is an f64 sum of its groups' f32 sums, in order, and
//           rows add up without rounding. So neither depends on how rows were cut
// Exactness reference and SIMD agree bit for bit.

#include "kernels/exact_sum.hpp"
#include "kernels/registry.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace viva::kernels::awq {

inline constexpr std::size_t ratios = 20;
inline constexpr std::size_t candidates = ratios + 1; ///< The first: no scaling.

/// Adds the shares of a run of rows to sums[0 … cols).
status add_shares(const recipe&, const matrix& in, std::uint64_t* sums) noexcept;
status add_shares_reference(const recipe&, const matrix& in, std::uint64_t* sums) noexcept;

/// The scales to try, and what the errors of scaled columns weigh: E[x²] / s².
struct scale_table {
  std::size_t cols = 0;
  std::vector<float> scales, weights; ///< (candidates, cols)

  std::span<const float> scales_of(std::size_t candidate) const noexcept {
    return {scales.data() + candidate * cols, cols};
  }
  std::span<const float> weights_of(std::size_t candidate) const noexcept {
    return {weights.data() + candidate * cols, cols};
  }
};

/// What errors of columns weigh once they are scaled: mean_square / s². `scales` is one or more
/// rows of as many columns.
std::vector<float> scaled_weights(std::span<const float> mean_square,
                                  std::span<const float> scales);

/// `rows` is how many rows, of all weights together, `share_sums` is over.
scale_table make_scale_table(std::span<const float> mean_abs, std::span<const float> mean_square,
                             std::span<const std::uint64_t> share_sums, std::uint64_t rows);

/// One sum for each candidate. Loss that is no number counts as 2^300.
struct loss_sums {
  std::array<exact_sum, candidates> sums;

  void merge(const loss_sums& other) noexcept;
  std::size_t best() const noexcept;

  std::string encode() const;
  static bool decode(std::string_view bytes, loss_sums& out);
};

status add_losses(const recipe&, const matrix& in, const scale_table&, loss_sums&) noexcept;
status add_losses_reference(const recipe&, const matrix& in, const scale_table&,
                            loss_sums&) noexcept;

} // namespace viva::kernels::awq
