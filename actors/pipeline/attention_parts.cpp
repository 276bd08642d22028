#include "actors/pipeline/attention_parts.hpp"

#include <utility>

namespace viva::actors {

using kernels::dtype;
using kernels::attention::strides;

attention_parts::attention_parts(const kernels::attention::shape& of, dtype type,
                                 std::uint32_t ranges)
    : x_of(of), x_ranges(ranges), x_rows(rows_of(of)) {
  x_result.type = type;
  x_result.key_ranges = ranges;
}

std::size_t attention_parts::row_bytes() const noexcept {
  return x_of.head_size * kernels::bytes_of(x_result.type);
}

std::uint64_t attention_parts::bytes() const noexcept {
  return x_rows * (row_bytes() + sizeof(float))
         + (x_ranges > 1 ? x_ranges * range_bytes(x_of) : 0);
}

void attention_parts::allocate() {
  x_result.out.resize(x_rows * row_bytes());
  x_result.lse.resize(x_rows);
  if (x_ranges > 1) {
    x_out.resize(x_ranges * x_rows * x_of.head_size);
    x_lse.resize(x_ranges * x_rows);
  }
}

kernels::attention::outputs attention_parts::range(std::size_t range) noexcept {
  const auto packed = [&](dtype type) {
    return strides::packed(x_of.heads, x_of.queries, x_of.head_size * kernels::bytes_of(type));
  };
  if (x_ranges == 1)
    return {x_result.out.data(), x_result.type, packed(x_result.type), x_result.lse.data()};
  return {reinterpret_cast<std::byte*>(x_out.data() + range * x_rows * x_of.head_size), dtype::f32,
          packed(dtype::f32), x_lse.data() + range * x_rows};
}

void attention_parts::merge(std::size_t share, std::size_t shares) {
  const auto first = x_rows * share / shares, end = x_rows * (share + 1) / shares;
  std::vector<kernels::attention::part> parts;
  for (std::size_t range = 0; range < x_ranges; ++range) {
    const auto row = range * x_rows + first;
    parts.push_back({x_out.data() + row * x_of.head_size, x_lse.data() + row});
  }
  kernels::attention::merge(parts, end - first, x_of.head_size,
                            x_result.out.data() + first * row_bytes(), x_result.type,
                            x_result.lse.data() + first);
}

attended attention_parts::take() {
  x_out = {};
  x_lse = {};
  return std::move(x_result);
}

} // namespace viva::actors
