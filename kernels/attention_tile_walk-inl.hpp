// A piece of attention of bf16 through the matrix tiles: which units there are, and what is
// multiplied while the scores of each become weights (attention_tiles-inl.hpp).

#include "kernels/attention_piece.hpp"
#include "kernels/attention_tiles-inl.hpp"

#include <algorithm>
#include <cstring>

#if defined(VIVA_KERNELS_ATTENTION_TILE_WALK_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_ATTENTION_TILE_WALK_INL
#undef VIVA_KERNELS_ATTENTION_TILE_WALK_INL
#else
#define VIVA_KERNELS_ATTENTION_TILE_WALK_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

#if VIVA_BF16_PRODUCTS

inline constexpr std::size_t groups_together = 2;

/// A group and a block of keys.
struct tile_unit {
  query_group* group;
  std::size_t of; ///< Of the piece's groups.
  std::size_t block; ///< Of the tile.
  std::int32_t key;
  bool masked;
};

/// A piece through the tiles: its groups, two at a time, and the sums of values that wait.
class tile_walk {
public:
  /// `values`: (2, head_size, tile_keys / 2) and `room`: tiles_floats(), both aligned.
  tile_walk(const attention::piece& of, query_group* groups, std::size_t count, float* values,
            float* room)
      : x_of(of), x_groups(groups), x_count(count), x_values(values), x_weights(room),
        x_scores(room + 2 * piece_groups * tile_keys / 2 * group_rows()),
        x_bias(x_scores + 2 * tile_step * group_rows()) {}

  /// Keys [key, key + keys) of those given.
  void meet(std::int32_t key, std::size_t keys) {
    run_waiting(x_came_last); // those of the tile before the last, whose place is taken now
    const auto before = x_end;
    x_odd = !x_odd;
    x_key = key;
    x_keys = keys;
    turn_values(x_of, static_cast<std::size_t>(key), keys, values());
    keep_rest();
    for (std::size_t g = 0; g < x_count; g += groups_together)
      meet_groups(g, std::min(g + groups_together, x_count));
    x_came_last = x_end - before;
  }
  void finish() {
    run_waiting(0);
  }

private:
  static constexpr std::size_t waiting_max = 2 * piece_groups * 256 / tile_step;
  /// What one unit may do meanwhile.
  static constexpr std::size_t meanwhile_max = 4;

  float* values() const {
    return x_values + (x_odd ? x_of.of->head_size * tile_keys / 2 : 0);
  }
  float* weights(std::size_t group, std::size_t block) const {
    const std::size_t at = ((x_odd ? piece_groups : 0) + group) * tile_keys + block * tile_step;
    return x_weights + at / 2 * group_rows();
  }
  /// The last block's keys, where what follows them may be no memory. The mask hides what is not
  /// theirs.
  void keep_rest() {
    const std::size_t left = x_keys % tile_step, row = row_bytes();
    for (std::size_t i = 0; i < left; ++i)
      std::memcpy(x_rest + i * row,
                  x_of.key(static_cast<std::size_t>(x_key) + x_keys - left + i), row);
  }
  std::size_t row_bytes() const {
    return x_of.of->head_size * sizeof(std::uint16_t);
  }
  tile_product scores_of(const tile_unit& unit, float* to) const {
    const bool whole = (unit.block + 1) * tile_step <= x_keys;
    return {whole ? x_of.key(static_cast<std::size_t>(unit.key)) : x_rest,
            whole ? x_of.in->k.bytes.row : row_bytes(), unit.group->queries,
            x_of.of->head_size / tile_step, to, false};
  }
  /// Columns [col, col + 32) of the group's sums of values of blocks [first, end).
  tile_product values_of(std::size_t group, std::size_t first, std::size_t end,
                         std::size_t col) const {
    constexpr std::size_t pitch = tile_keys * sizeof(std::uint16_t);
    return {reinterpret_cast<const std::byte*>(values()) + col * pitch
                + first * tile_step * sizeof(std::uint16_t),
            pitch, weights(group, first), end - first, x_groups[group].out + col * group_rows(),
            true};
  }

  void run_waiting(std::size_t but) {
    while (x_end - x_begin > but)
      x_waiting[x_begin++ % waiting_max].run();
  }

  HWY_NOINLINE void meet_groups(std::size_t begin, std::size_t end) {
    tile_unit units[groups_together * tile_blocks];
    std::size_t count = 0;
    std::size_t first[groups_together] = {}, last[groups_together] = {}; // blocks with weights
    for (std::size_t block = 0; block * tile_step < x_keys; ++block)
      for (std::size_t i = begin; i < end; ++i) {
        auto& g = x_groups[i];
        const auto key = x_key + static_cast<std::int32_t>(block * tile_step);
        const auto behind = key + static_cast<std::int32_t>(tile_step);
        if (key >= g.last_max || behind <= g.first_min)
          continue;
        if (last[i - begin] == 0)
          first[i - begin] = block;
        last[i - begin] = block + 1;
        units[count++] = {&g, i, block, key, key < g.first_max || behind > g.last_min};
      }
    for (std::size_t i = 0; i < count; ++i) {
      if (i == 0)
        scores_of(units[0], x_scores).run();
      weigh(units, i, count, first[units[i].of - begin]);
    }
    for (std::size_t col = 0; col < x_of.of->head_size; col += tile_step)
      for (std::size_t i = begin; i < end; ++i)
        if (first[i - begin] < last[i - begin])
          x_waiting[x_end++ % waiting_max] =
              values_of(i, first[i - begin], last[i - begin], col);
  }

  /// Unit i of `count`, whose scores are there; `first`: the group's first block whose weights are
  /// not in its sums of values.
  HWY_INLINE void weigh(const tile_unit* units, std::size_t i, std::size_t count,
                        std::size_t& first) {
    const auto& unit = units[i];
    auto& g = *unit.group;
    float* scores = x_scores + i % 2 * tile_step * group_rows();
    const bool biased = x_of.in->bias.data != nullptr, finished = unit.masked || biased;
    if (biased)
      load_bias(x_of, unit.of * group_rows(), unit.key,
                std::min(tile_step, x_keys - unit.block * tile_step), x_bias);
    vf32 top[group_vectors];
    if (finished)
      finish_scores<true>(g, unit.key, biased ? x_bias : nullptr, scores, top);
    else
      finish_scores<false>(g, unit.key, nullptr, scores, top);
    if (HWY_UNLIKELY(g.unseen || any_climbs(top)))
      raise_sums(unit, first, top, finished ? scores : nullptr);
    tile_product meanwhile[1 + meanwhile_max];
    std::size_t products = 0;
    if (i + 1 < count)
      meanwhile[products++] =
          scores_of(units[i + 1], x_scores + (i + 1) % 2 * tile_step * group_rows());
    const std::size_t share = (x_end - x_begin + count - i - 1) / (count - i);
    for (std::size_t n = std::min(share, meanwhile_max); n > 0; --n)
      meanwhile[products++] = x_waiting[x_begin++ % waiting_max];
    float* to = weights(unit.of, unit.block);
    if (finished)
      weigh_scores<true>(g, scores, to, meanwhile, products);
    else
      weigh_scores<false>(g, scores, to, meanwhile, products);
  }

  /// Sums of values are of weights to one m: what has weights is added before m is raised. To a
  /// whole score where scores are: beside a mask of -1e10, m + top would have no digits left.
  HWY_NOINLINE void raise_sums(const tile_unit& unit, std::size_t& first,
                               const vf32 (&top)[group_vectors],
                               const float* HWY_RESTRICT whole) {
    run_waiting(0);
    for (std::size_t col = 0; first < unit.block && col < x_of.of->head_size; col += tile_step)
      values_of(unit.of, first, unit.block, col).run();
    first = unit.block;
    key_tile none{};
    none.head_size = x_of.of->head_size;
    vf32 highest[group_vectors], delta[group_vectors];
    if (whole == nullptr)
      return raise(*unit.group, none, 0, top, delta);
    VIVA_UNROLL(4)
    for (std::size_t c = 0; c < group_vectors; ++c) {
      highest[c] = hn::Load(df32(), whole + c * lanes());
      for (std::size_t i = 1; i < tile_step; ++i)
        highest[c] = hn::Max(highest[c], hn::Load(df32(), whole + i * group_rows() + c * lanes()));
    }
    raise(*unit.group, none, 0, top, highest, delta);
  }

  const attention::piece& x_of;
  query_group* const x_groups;
  const std::size_t x_count;
  float* const x_values;
  float* const x_weights; ///< (2, groups, tile_keys / 2, rows) pairs: of this tile and the last.
  float* const x_scores;  ///< (2, 32, rows), of units in turn.
  float* const x_bias;    ///< (32, rows)
  bool x_odd = false;
  std::int32_t x_key = 0;
  std::size_t x_keys = 0;
  /// First come, first served; places are taken by turns.
  tile_product x_waiting[waiting_max];
  std::size_t x_begin = 0, x_end = 0, x_came_last = 0;
  alignas(64) std::byte x_rest[tile_step * 256 * sizeof(std::uint16_t)] = {};
};

/// Keys [seen.first, seen.last) through all groups. `values` and `room` as of `tile_walk`.
inline void attend_tiles(const attention::piece& of, query_group* groups, std::size_t count,
                         attention::key_range seen, float* values, float* room) {
  const tile_registers registers;
  tile_walk walk(of, groups, count, values, room);
  for (auto key = seen.first; key < seen.last; key += tile_keys)
    walk.meet(key, std::min<std::size_t>(tile_keys, static_cast<std::size_t>(seen.last - key)));
  walk.finish();
}

#endif

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
