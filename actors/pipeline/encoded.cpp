#include "actors/pipeline/encoded.hpp"

#include <cstring>

namespace viva {

namespace {

constexpr std::uint64_t plane_alignment = 64; // a cache line: planes of two tensors share none

} // namespace

plane_map map_planes(const kernels::recipe& how, std::uint64_t rows, std::uint64_t cols) {
  const auto shape = how.row->shape(how, cols);
  plane_map map;
  map.count = static_cast<std::uint32_t>(shape.planes_count);
  for (std::size_t i = 0; i < shape.planes_count; ++i) {
    map.offset[i] = map.total;
    map.bytes[i] = shape.planes[i].bytes(0, rows, cols);
    map.total += (map.bytes[i] + plane_alignment - 1) / plane_alignment * plane_alignment;
  }
  return map;
}

std::uint64_t encoded_view::bytes() const noexcept {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < planes(); ++i)
    sum += x_where->bytes[i];
  return sum;
}

expected<void> encoded_view::decode(std::span<float> out) const {
  if (out.size() != x_rows * x_cols)
    return fail(errc::bad_shape, "decode: a tensor of " + std::to_string(x_rows) + " x "
                                     + std::to_string(x_cols) + " values does not fit in "
                                     + std::to_string(out.size()) + "; give room for all of them");
  std::array<const std::byte*, kernels::planes_max> in{};
  for (std::size_t i = 0; i < planes(); ++i)
    in[i] = plane(i).data();
  const auto done = x_how->row->decode_simd(*x_how, x_rows, x_cols, numbers(),
                                            {in.data(), planes()}, out.data());
  if (!done)
    return fail(done.code, "decode: the bytes are no " + x_how->name() + " data");
  return {};
}

encoded::encoded(const kernels::recipe& how, std::uint64_t rows, std::uint64_t cols)
    : x_how(how), x_where(map_planes(how, rows, cols)),
      x_bytes(std::make_unique_for_overwrite<std::byte[]>(x_where.total)), x_rows(rows),
      x_cols(cols) {
}

encoded::encoded(const encoded_view& from) : encoded(from.method(), from.rows(), from.cols()) {
  numbers = from.numbers();
  for (std::size_t i = 0; i < from.planes(); ++i)
    std::memcpy(x_bytes.get() + x_where.offset[i], from.plane(i).data(), x_where.bytes[i]);
}

} // namespace viva
