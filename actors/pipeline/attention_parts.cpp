#include "actors/pipeline/attention_parts.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
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

std::size_t attention_parts::lse_from() const noexcept {
  const auto rows = x_ranges > 1 ? x_ranges * x_rows * x_of.head_size * sizeof(float)
                                 : x_rows * row_bytes();
  return (rows + 63) / 64 * 64;
}

std::uint64_t attention_parts::bytes(bool shared) const noexcept {
  const auto result = x_rows * (row_bytes() + sizeof(float));
  if (shared && x_rows != 0)
    return result + lse_from() + x_ranges * x_rows * sizeof(float);
  return result + (x_ranges > 1 ? x_ranges * range_bytes(x_of) : 0);
}

expected<void> attention_parts::allocate(shared_table* shares) {
  x_result.out.resize(x_rows * row_bytes());
  x_result.lse.resize(x_rows);
  const bool parts = x_ranges > 1;
  if (shares != nullptr && x_rows != 0) {
    auto made = shares->make(lse_from() + x_ranges * x_rows * sizeof(float));
    if (!made)
      return tl::unexpected(made.error());
    x_region = std::move(*made);
    x_out_at = x_region->data();
    x_lse_at = reinterpret_cast<float*>(x_region->data() + lse_from());
    return {};
  }
  x_out.resize(parts ? x_ranges * x_rows * x_of.head_size : 0);
  x_lse.resize(parts ? x_ranges * x_rows : 0);
  x_out_at = parts ? reinterpret_cast<std::byte*>(x_out.data()) : x_result.out.data();
  x_lse_at = parts ? x_lse.data() : x_result.lse.data();
  return {};
}

void attention_parts::address(std::size_t which, attend_step& step) noexcept {
  const auto to = range(which);
  step.to = x_region->id;
  step.type = to.type;
  step.out = static_cast<std::uint64_t>(to.out - x_region->data());
  step.lse = static_cast<std::uint64_t>(reinterpret_cast<std::byte*>(to.lse) - x_region->data());
}

kernels::attention::outputs attention_parts::range(std::size_t range) noexcept {
  const auto packed = [&](dtype type) {
    return strides::packed(x_of.heads, x_of.queries, x_of.head_size * kernels::bytes_of(type));
  };
  if (x_ranges == 1)
    return {x_out_at, x_result.type, packed(x_result.type), x_lse_at};
  return {x_out_at + range * x_rows * x_of.head_size * sizeof(float), dtype::f32,
          packed(dtype::f32), x_lse_at + range * x_rows};
}

void attention_parts::merge(std::size_t share, std::size_t shares) {
  const auto first = x_rows * share / shares, end = x_rows * (share + 1) / shares;
  std::vector<kernels::attention::part> parts;
  for (std::size_t range = 0; range < x_ranges; ++range) {
    const auto row = range * x_rows + first;
    parts.push_back({reinterpret_cast<const float*>(x_out_at) + row * x_of.head_size,
                     x_lse_at + row});
  }
  kernels::attention::merge(parts, end - first, x_of.head_size,
                            x_result.out.data() + first * row_bytes(), x_result.type,
                            x_result.lse.data() + first);
}

void attention_parts::see_nothing() {
  std::memset(x_out_at, 0, x_rows * row_bytes());
  std::fill_n(x_lse_at, x_rows, -std::numeric_limits<float>::infinity());
}

attended attention_parts::take() {
  if (x_region && x_ranges == 1) {
    std::memcpy(x_result.out.data(), x_out_at, x_result.out.size());
    std::memcpy(x_result.lse.data(), x_lse_at, x_result.lse.size() * sizeof(float));
  }
  auto result = std::move(x_result);
  clear();
  return result;
}

// Vectors that are swapped away, because one that is assigned an empty list keeps its memory.
void attention_parts::clear() noexcept {
  x_region = nullptr;
  std::vector<float>().swap(x_out);
  std::vector<float>().swap(x_lse);
  std::vector<std::byte>().swap(x_result.out);
  std::vector<float>().swap(x_result.lse);
}

} // namespace viva::actors
