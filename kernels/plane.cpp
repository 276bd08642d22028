// Planes: how many bytes any run of rows has, which is what a plan needs to fix every offset.

#include "kernels/registry.hpp"

namespace viva::kernels {

std::uint64_t plane::offset(std::uint64_t row, std::uint64_t cols) const noexcept {
  switch (unit) {
  case unit_kind::values:
    return row * cols / unit_values * unit_bytes;
  case unit_kind::row:
    return row / unit_rows * unit_bytes;
  case unit_kind::tensor:
    return 0;
  }
  return 0;
}

std::uint64_t plane::bytes(std::uint64_t first, std::uint64_t count,
                           std::uint64_t cols) const noexcept {
  switch (unit) {
  case unit_kind::values: {
    const auto end = (first + count) * cols;
    return (end + unit_values - 1) / unit_values * unit_bytes - offset(first, cols);
  }
  case unit_kind::row:
    return (first + count + unit_rows - 1) / unit_rows * unit_bytes - offset(first, cols);
  case unit_kind::tensor:
    return unit_bytes;
  }
  return 0;
}

double bits_per_weight(const recipe& with, std::uint64_t rows, std::uint64_t cols) {
  std::uint64_t bytes = 0;
  const auto shape = with.row->shape(with, cols);
  for (const auto& each : shape.all())
    bytes += each.bytes(0, rows, cols);
  return rows * cols == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(rows * cols);
}

} // namespace viva::kernels
