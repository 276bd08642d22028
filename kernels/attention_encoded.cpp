// Rows of k and v out of the planes of a method.

#include "kernels/attention_piece.hpp"
#include "kernels/q8_0.hpp"

#include <algorithm>

namespace viva::kernels::attention {

namespace {

using plane_kind = plane::unit_kind;
using plane_pointers = std::array<const std::byte*, planes_max>;

/// Whether every head has whole units of the plane where several heads share a row.
bool divides(const encoded_tensor& from, const plane& whole, const plane& head,
             std::size_t head_size) {
  switch (whole.unit) {
  case plane_kind::values:
    return head_size % whole.unit_values == 0;
  case plane_kind::row: // one for the row, or runs of groups of columns
    return whole.unit_bytes == head.unit_bytes
           || (from.how.block != 0 && head_size % from.how.block == 0
               && std::uint64_t{whole.unit_bytes} * head_size
                      == std::uint64_t{head.unit_bytes} * from.cols);
  case plane_kind::tensor:
    return true;
  }
  return false;
}

/// Where the planes of row `row` begin, from column `col` on.
plane_pointers planes_at(const encoded_tensor& from, const geometry& shape,
                         std::size_t head_size, std::size_t row, std::size_t col) {
  plane_pointers each{};
  const auto head = col == 0 ? shape : from.how.row->shape(from.how, head_size);
  for (std::size_t p = 0; p < shape.planes_count; ++p) {
    const auto& whole = shape.planes[p];
    std::uint64_t offset = whole.offset(row, from.cols);
    if (whole.unit == plane_kind::values)
      offset = (row * from.cols + col) / whole.unit_values * whole.unit_bytes;
    else if (whole.unit == plane_kind::row && whole.unit_bytes != head.planes[p].unit_bytes)
      offset += col * whole.unit_bytes / from.cols;
    each[p] = from.planes[p] + offset;
  }
  return each;
}

} // namespace

encoded_tensor encoded_tensor::packed(const recipe& how, std::size_t batch, std::size_t heads,
                                      std::size_t rows, std::size_t head_size) {
  encoded_tensor made;
  made.how = how;
  made.rows_count = batch * heads * rows;
  made.cols = head_size;
  made.rows = strides::packed(heads, rows, 1);
  return made;
}

status check(const shape& of, const encoded_tensor& from) noexcept {
  const auto whole = from.how.row->shape(from.how, from.cols);
  const auto head = from.how.row->shape(from.how, of.head_size);
  if (whole.rows_grain > encoded_grain_max)
    return {errc::unsupported};
  if (of.head_size % from.how.cols_multiple() != 0)
    return {errc::bad_shape};
  if (from.head_columns == 0 && from.rows.row == 1) {
    // Every head begins a run of rows that the method encodes alone.
    const bool starts = (of.kv_heads == 1 || from.rows.head % whole.rows_grain == 0)
                        && (of.batch == 1 || from.rows.sequence % whole.rows_grain == 0);
    return {from.cols == of.head_size && starts ? errc::ok : errc::bad_shape};
  }
  bool fits = whole.rows_grain == 1 && from.cols >= of.head_size
              && (of.kv_heads <= 1
                  || from.head_columns <= (from.cols - of.head_size) / (of.kv_heads - 1));
  for (std::size_t p = 0; fits && p < whole.planes_count; ++p)
    fits = divides(from, whole.planes[p], head.planes[p], of.head_size);
  return {fits ? errc::ok : errc::bad_shape};
}

decoded_rows decode_rows(const encoded_tensor& from, std::size_t head_size, std::size_t b,
                         std::size_t h, std::size_t first, std::size_t count, float* to) noexcept {
  const auto shape = from.how.row->shape(from.how, from.cols);
  const auto decode = [&](std::size_t row, std::size_t rows, float* out) {
    const auto in = planes_at(from, shape, head_size, row, h * from.head_columns);
    return from.how.row->decode_simd(from.how, rows, head_size, from.numbers,
                                     {in.data(), shape.planes_count}, out);
  };
  if (from.head_columns == 0 && from.rows.row == 1) {
    const auto grain = static_cast<std::size_t>(shape.rows_grain);
    const std::size_t row = from.rows.at(b, h, first), begin = row / grain * grain;
    const std::size_t end =
        std::min((row + count + grain - 1) / grain * grain, from.rows_count);
    return {decode(begin, end - begin, to), to + (row - begin) * head_size};
  }
  status done;
  for (std::size_t i = 0; done && i < count; ++i)
    done = decode(from.rows.at(b, h, first + i), 1, to + i * head_size);
  return {done, to};
}

block_rows q8_0_rows(const encoded_tensor& from, std::size_t b, std::size_t h,
                     std::size_t first) noexcept {
  if (from.how.row->decode_simd != q8_0::decode_simd)
    return {};
  const auto bytes = [](std::size_t values) {
    return values / ggml_block_values * q8_0::block_bytes;
  };
  const std::size_t at = from.rows.at(b, h, first) * from.cols + h * from.head_columns;
  return {from.planes[0] + bytes(at), bytes(from.rows.row * from.cols)};
}

} // namespace viva::kernels::attention
