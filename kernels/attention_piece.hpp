#pragma once

// A piece of attention: rows that share one kv head, the keys that each may see, and rows of keys
// and values that are decoded for it.
//
// Row r of a kv head is query r % queries of its head r / queries, so all heads of a group meet the
// same keys while these lie in cache.

#include "kernels/attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace viva::kernels::attention {

/// Rows that a method may encode together where they are decoded tile by tile.
inline constexpr std::size_t encoded_grain_max = 16;

/// Rows for which `decode_rows` needs room: those wanted, and others of their runs.
constexpr std::size_t decoded_rows_max(std::size_t count) noexcept {
  return count + 2 * (encoded_grain_max - 1);
}

struct decoded_rows {
  status done;
  const float* first = nullptr; ///< (count, head_size)
};

/// Rows [first, first + count) of a head, decoded into `to`, which holds decoded_rows_max(count).
/// `malformed` where bytes cannot be the method's.
decoded_rows decode_rows(const encoded_tensor&, std::size_t head_size, std::size_t b,
                         std::size_t h, std::size_t first, std::size_t count, float* to) noexcept;

/// Rows of a head from one on, blocks of q8_0 where they lie; null where another method made them.
struct block_rows {
  const std::byte* first = nullptr;
  std::size_t pitch = 0; ///< Bytes between rows.
};
block_rows q8_0_rows(const encoded_tensor&, std::size_t b, std::size_t h,
                     std::size_t first) noexcept;

/// Keys [first, last) of those given.
struct key_range {
  std::int32_t first = 0, last = 0;
};

/// Those that a query sees, both ends within what is given; none where first >= last. Both ends
/// grow with the query.
constexpr key_range seen_keys(const shape& of, std::size_t query) noexcept {
  const auto all = static_cast<std::int64_t>(of.keys + of.keys_after);
  const auto at = static_cast<std::int64_t>(query) + all - static_cast<std::int64_t>(of.queries);
  const auto window = static_cast<std::int64_t>(of.reach());
  std::int64_t first = 0, last = of.causal ? at + 1 : all;
  if (window != 0) {
    first = at - window + 1;
    last = std::min(last, at + window);
  }
  const auto keys = static_cast<std::int64_t>(of.keys);
  return {static_cast<std::int32_t>(std::clamp<std::int64_t>(first, 0, keys)),
          static_cast<std::int32_t>(std::clamp<std::int64_t>(last, 0, keys))};
}

inline float scale_of(const shape& of) noexcept {
  return of.scale != 0 ? of.scale
                       : static_cast<float>(1 / std::sqrt(static_cast<double>(of.head_size)));
}

struct piece {
  const shape* of;
  const inputs* in;
  const outputs* to;
  std::size_t sequence, kv_head;
  std::size_t first_row, rows;

  std::size_t head(std::size_t row) const noexcept {
    return kv_head * (of->heads / of->kv_heads) + (first_row + row) / of->queries;
  }
  std::size_t query(std::size_t row) const noexcept {
    return (first_row + row) % of->queries;
  }
  const std::byte* q(std::size_t row) const noexcept {
    return in->q.at(sequence, head(row), query(row));
  }
  const std::byte* key(std::size_t at) const noexcept {
    return in->k.at(sequence, kv_head, at);
  }
  const std::byte* value(std::size_t at) const noexcept {
    return in->v.at(sequence, kv_head, at);
  }
  std::byte* out(std::size_t row) const noexcept {
    return to->out + to->bytes.at(sequence, head(row), query(row));
  }
  float* lse(std::size_t row) const noexcept {
    const auto at = (sequence * of->heads + head(row)) * of->queries + query(row);
    return to->lse == nullptr ? nullptr : to->lse + at;
  }
  const float* bias(std::size_t row) const noexcept {
    return in->bias.data + in->bias.values.at(sequence, head(row), query(row));
  }
  float scale() const noexcept {
    return scale_of(*of);
  }
  key_range keys(std::size_t row) const noexcept {
    const auto range = seen_keys(*of, query(row));
    return range.first < range.last ? range : key_range{};
  }
};

} // namespace viva::kernels::attention
