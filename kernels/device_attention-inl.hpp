#pragma once

// Attention as a device computes it: a block of warps takes queries of one head, keys and values
// come by in tiles of shared memory, and each warp keeps 16 rows of the output in its registers.
//
// Source    FlashAttention-2 (arXiv:2307.08691). Products of f16 and bf16 are PTX's mma.sync
//           m16n8k16 with f32 sums; of f32, fused multiply-adds. Weights are rounded to the inputs'
//           type before they meet v.
// Bound     that of attention.hpp; bytes are not the processor's.
// Warp      What runs it: `own<T>` what each lane keeps, each(body), quads(of, join) folds four
//           neighbours, mma<Type>(of), pack<Type>(low, high), sync(). A device's
//           (cuda_attention.cu) or loops over 32 lanes, so that all but these is tested anywhere.
//
// Lane l of a warp is g = l / 4, t = l % 4 of PTX's fragments: sums 0, 1 are row g, columns 2t and
// 2t + 1 of eight; 2, 3 the same of row g + 8.

#include "kernels/attention_piece.hpp"
#include "kernels/scalar.hpp"
#include "kernels/team.hpp"

#include <cmath>
#include <limits>
#include <type_traits>

namespace viva::kernels::attention {

/// All pointers are the device's; nothing is encoded; q, k and v are of one type.
struct device_problem {
  shape of;
  inputs in;
  outputs to;
  float scale2 = 0; ///< Of scores in powers of two: scale log2(e).
};

struct tile_place {
  std::size_t sequence = 0, head = 0, first = 0; ///< Of rows.
};

template <dtype Type, unsigned Head> // head_size rounded up to 64, 128 or 256
struct block_shape {
  static constexpr bool wide = Type == dtype::f32;
  using value = std::conditional_t<wide, float, std::uint16_t>;
  static constexpr unsigned warps = wide ? 2 : 4, rows = 16 * warps, keys = wide ? 16 : 32;
  static constexpr unsigned lanes = 32 * warps;
  static constexpr unsigned chunk_values = 16 / sizeof(value);
  static constexpr unsigned pitch = Head + chunk_values; ///< Rows begin in different banks.
  static constexpr unsigned weights_pitch = keys + 1;
  static constexpr std::size_t weights_bytes = wide ? rows * weights_pitch * sizeof(float) : 0;
  static constexpr std::size_t bytes =
      (rows + 2 * keys) * pitch * sizeof(value) + weights_bytes;
};

/// The parts of a block's shared memory.
template <dtype Type, unsigned Head>
struct block_memory {
  using size = block_shape<Type, Head>;
  typename size::value *q, *k, *v;
  float* weights; ///< f32 alone: what one lane weighs others multiply.

  VIVA_HD explicit block_memory(std::byte* at) noexcept
      : q(reinterpret_cast<typename size::value*>(at)), k(q + size::rows * size::pitch),
        v(k + size::keys * size::pitch),
        weights(reinterpret_cast<float*>(v + size::keys * size::pitch)) {}
};

struct alignas(16) chunk {
  std::uint32_t words[4];
};

/// Brings `count` rows of a tile in, of which `there` exist; the others, and columns beyond the
/// head's, are zeros.
template <dtype Type, unsigned Head>
VIVA_HD void stage_rows(const source_rows& from, const tile_place& at, std::size_t head_size,
                        unsigned count, std::size_t there, unsigned thread,
                        typename block_shape<Type, Head>::value* to) noexcept {
  using size = block_shape<Type, Head>;
  constexpr unsigned chunks = Head / size::chunk_values;
  for (unsigned i = thread; i < count * chunks; i += size::lanes) {
    const unsigned row = i / chunks, column = i % chunks * size::chunk_values;
    chunk piece{};
    if (row < there && column < head_size)
      piece = load_as<chunk>(from.at(at.sequence, at.head, at.first + row)
                             + column * sizeof(typename size::value));
    *reinterpret_cast<chunk*>(to + row * size::pitch + column) = piece;
  }
}

/// What one lane brings to a product: sums c[4] += a b, as PTX has its fragments.
struct fragment {
  float* c;
  std::uint32_t a[4], b[2];
};

VIVA_HD inline std::uint32_t word_at(const std::uint16_t* two) noexcept {
  return load_as<std::uint32_t>(reinterpret_cast<const std::byte*>(two));
}
VIVA_HD constexpr std::uint32_t word_of(std::uint16_t low, std::uint16_t high) noexcept {
  return low | std::uint32_t{high} << 16;
}

/// 16 rows of the output, from the first tile of keys to the last.
template <class Warp, dtype Type, unsigned Head>
class attending_warp {
public:
  using size = block_shape<Type, Head>;

  /// `rows`: of the whole block, the first of which is at.first. `warp_rows`: this warp's first.
  VIVA_HD attending_warp(Warp warp, const device_problem& what, const tile_place& rows,
                         unsigned warp_rows) noexcept
      : x_warp(warp), x_what(what), x_at(rows) {
    x_at.first += warp_rows;
    x_warp.each([&](unsigned lane) {
      VIVA_UNROLLED
      for (unsigned r = 0; r < 2; ++r)
        if (const auto query = query_of(lane, r); query < what.of.queries)
          x_state[lane].seen[r] = seen_keys(what.of, query);
    });
  }

  /// `memory` holds the block's q and the tile of keys from `first_key` on; `warp_rows` as above.
  VIVA_HD void step(const block_memory<Type, Head>& memory, unsigned warp_rows,
                    std::int32_t first_key) noexcept {
    own<scores> s;
    multiply_keys(memory.q + warp_rows * size::pitch, memory.k, s);
    weigh(first_key, s);
    multiply_values(memory.v, memory.weights + warp_rows * size::weights_pitch, s);
  }

  VIVA_HD void finish() noexcept {
    auto sums = x_warp.quads(
        [&](unsigned lane) { return pair{x_state[lane].sum[0], x_state[lane].sum[1]}; },
        [](pair a, pair b) { return pair{a.of[0] + b.of[0], a.of[1] + b.of[1]}; });
    x_warp.each([&](unsigned lane) {
      VIVA_UNROLLED
      for (unsigned r = 0; r < 2; ++r)
        if (query_of(lane, r) < x_what.of.queries)
          write(lane, r, sums[lane].of[r]);
    });
  }

private:
  template <class T>
  using own = typename Warp::template own<T>;
  static constexpr unsigned key_tiles = size::keys / 8, head_tiles = Head / 8;
  static constexpr float nothing = -std::numeric_limits<float>::infinity();
  static constexpr float log2_e = 1.4426950408889634f, ln_2 = 0.6931471805599453f;

  struct pair {
    float of[2];
  };
  struct scores {
    float of[key_tiles][4] = {};
  };
  struct rows_of_lane {
    float out[head_tiles][4] = {};
    float most[2] = {nothing, nothing}; ///< Scores in powers of two.
    float sum[2] = {};                  ///< Of this lane's columns.
    key_range seen[2] = {};
  };

  VIVA_HD std::size_t query_of(unsigned lane, unsigned r) const noexcept {
    return x_at.first + lane / 4 + 8 * r;
  }

  template <class Value>
  VIVA_HD void multiply_keys(const Value* q, const Value* k, own<scores>& s) const noexcept {
    const auto head = static_cast<unsigned>(x_what.of.head_size);
    if constexpr (size::wide) {
      x_warp.each([&](unsigned lane) {
        const float* const row = q + lane / 4 * size::pitch;
        VIVA_UNROLLED
        for (unsigned j = 0; j < key_tiles; ++j) {
          const float* const key = k + (8 * j + 2 * (lane % 4)) * size::pitch;
          float* const c = s[lane].of[j];
          for (unsigned i = 0; i < head; ++i)
            VIVA_UNROLLED
            for (unsigned n = 0; n < 4; ++n)
              c[n] = fmaf(row[n / 2 * 8 * size::pitch + i], key[n % 2 * size::pitch + i], c[n]);
        }
      });
    } else {
      VIVA_UNROLLED
      for (unsigned from = 0; from < Head; from += 16)
        if (from < head) {
          VIVA_UNROLLED
          for (unsigned j = 0; j < key_tiles; ++j)
            x_warp.template mma<Type>([&](unsigned lane) {
              const auto* const a = q + lane / 4 * size::pitch + from + 2 * (lane % 4);
              const auto* const b = k + (8 * j + lane / 4) * size::pitch + from + 2 * (lane % 4);
              return fragment{s[lane].of[j],
                              {word_at(a), word_at(a + 8 * size::pitch), word_at(a + 8),
                               word_at(a + 8 * size::pitch + 8)},
                              {word_at(b), word_at(b + 8)}};
            });
        }
    }
  }

  /// Scores become weights; what was summed before is scaled to the new maximum.
  VIVA_HD void weigh(std::int32_t first_key, own<scores>& s) noexcept {
    auto most = x_warp.quads(
        [&](unsigned lane) {
          pair found{{x_state[lane].most[0], x_state[lane].most[1]}};
          VIVA_UNROLLED
          for (unsigned j = 0; j < key_tiles; ++j)
            VIVA_UNROLLED
            for (unsigned n = 0; n < 4; ++n) {
              float& score = s[lane].of[j][n];
              score = scaled(score, lane, n / 2,
                             first_key + static_cast<std::int32_t>(8 * j + 2 * (lane % 4) + n % 2));
              found.of[n / 2] = fmaxf(found.of[n / 2], score);
            }
          return found;
        },
        [](pair a, pair b) {
          return pair{fmaxf(a.of[0], b.of[0]), fmaxf(a.of[1], b.of[1])};
        });
    x_warp.each([&](unsigned lane) {
      auto& mine = x_state[lane];
      VIVA_UNROLLED
      for (unsigned r = 0; r < 2; ++r) {
        const float now = most[lane].of[r];
        const float base = now == nothing ? 0.0f : now; // -inf less -inf would be NaN
        const float kept = exp2f(mine.most[r] - base);
        mine.most[r] = now;
        mine.sum[r] *= kept;
        VIVA_UNROLLED
        for (unsigned j = 0; j < key_tiles; ++j)
          VIVA_UNROLLED
          for (unsigned n = 2 * r; n < 2 * r + 2; ++n) {
            float& score = s[lane].of[j][n];
            score = exp2f(score - base);
            mine.sum[r] += score;
          }
        VIVA_UNROLLED
        for (unsigned i = 0; i < head_tiles; ++i)
          VIVA_UNROLLED
          for (unsigned n = 2 * r; n < 2 * r + 2; ++n)
            mine.out[i][n] *= kept;
      }
    });
  }

  VIVA_HD float scaled(float dot, unsigned lane, unsigned r, std::int32_t key) noexcept {
    const auto seen = x_state[lane].seen[r];
    if (key < seen.first || key >= seen.last)
      return nothing;
    const float score = dot * x_what.scale2;
    const auto& bias = x_what.in.bias;
    if (bias.data == nullptr)
      return score;
    const auto at = bias.values.at(x_at.sequence, x_at.head, query_of(lane, r));
    return fmaf(bias.data[at + static_cast<std::size_t>(key)], log2_e, score);
  }

  template <class Value>
  VIVA_HD void multiply_values(const Value* v, float* weights, own<scores>& s) noexcept {
    const auto head = static_cast<unsigned>(x_what.of.head_size);
    if constexpr (size::wide) {
      x_warp.each([&](unsigned lane) {
        VIVA_UNROLLED
        for (unsigned j = 0; j < key_tiles; ++j)
          VIVA_UNROLLED
          for (unsigned n = 0; n < 4; ++n)
            weights[(lane / 4 + n / 2 * 8) * size::weights_pitch + 8 * j + 2 * (lane % 4) + n % 2] =
                s[lane].of[j][n];
      });
      x_warp.sync();
      x_warp.each([&](unsigned lane) {
        const float* const weight = weights + lane / 4 * size::weights_pitch;
        VIVA_UNROLLED
        for (unsigned i = 0; i < head_tiles; ++i)
          for (unsigned key = 0; 8 * i < head && key < size::keys; ++key)
            VIVA_UNROLLED
            for (unsigned n = 0; n < 4; ++n)
              x_state[lane].out[i][n] = fmaf(weight[n / 2 * 8 * size::weights_pitch + key],
                                             v[key * size::pitch + 8 * i + 2 * (lane % 4) + n % 2],
                                             x_state[lane].out[i][n]);
      });
      x_warp.sync(); // the next tile's weights go to the same place
    } else {
      VIVA_UNROLLED
      for (unsigned j = 0; j < key_tiles; j += 2)
        VIVA_UNROLLED
        for (unsigned i = 0; i < head_tiles; ++i)
          if (8 * i < head)
            x_warp.template mma<Type>([&](unsigned lane) {
              const auto& [left, right] = neighbours{s[lane].of[j], s[lane].of[j + 1]};
              const auto* const b = v + (8 * j + 2 * (lane % 4)) * size::pitch + 8 * i + lane / 4;
              return fragment{x_state[lane].out[i],
                              {Warp::template pack<Type>(left[0], left[1]),
                               Warp::template pack<Type>(left[2], left[3]),
                               Warp::template pack<Type>(right[0], right[1]),
                               Warp::template pack<Type>(right[2], right[3])},
                              {word_of(b[0], b[size::pitch]),
                               word_of(b[8 * size::pitch], b[9 * size::pitch])}};
            });
    }
  }
  struct neighbours {
    const float *left, *right;
  };

  VIVA_HD void write(unsigned lane, unsigned r, float sum) noexcept {
    auto& mine = x_state[lane];
    const auto query = query_of(lane, r);
    std::byte* const to = x_what.to.out + x_what.to.bytes.at(x_at.sequence, x_at.head, query);
    VIVA_UNROLLED
    for (unsigned i = 0; i < head_tiles; ++i)
      VIVA_UNROLLED
      for (unsigned n = 0; n < 2; ++n)
        if (8 * i < x_what.of.head_size)
          put_value(sum == 0 ? 0.0f : mine.out[i][2 * r + n] / sum, x_what.to.type, to,
                    8 * i + 2 * (lane % 4) + n);
    if (x_what.to.lse != nullptr && lane % 4 == 0)
      x_what.to.lse[(x_at.sequence * x_what.of.heads + x_at.head) * x_what.of.queries + query] =
          sum == 0 ? nothing : (mine.most[r] + log2f(sum)) * ln_2;
  }

  Warp x_warp;
  const device_problem& x_what;
  tile_place x_at;
  own<rows_of_lane> x_state;
};

/// Keys that any of a block's rows sees.
template <dtype Type, unsigned Head>
VIVA_HD key_range keys_of_block(const shape& of, std::size_t first_query) noexcept {
  const auto last = std::min<std::size_t>(first_query + block_shape<Type, Head>::rows, of.queries);
  return {seen_keys(of, first_query).first, seen_keys(of, last - 1).last};
}

} // namespace viva::kernels::attention
