#pragma once

// What comes back: the planes of one encoded tensor, as a view into memory of the pipeline
// (encoded_view) or with memory of its own (encoded).

#include "kernels/error.hpp"
#include "kernels/registry.hpp"

#include <array>
#include <memory>
#include <span>

namespace viva {

/// Where each plane of an encoded tensor lies, from its first byte. Starts are multiples of 64.
struct plane_map {
  std::array<std::uint64_t, kernels::planes_max> offset{}, bytes{};
  std::uint32_t count = 0;
  std::uint64_t total = 0; ///< Bytes of all planes, gaps included.
};

plane_map map_planes(const kernels::recipe&, std::uint64_t rows, std::uint64_t cols);

/// How far a tensor's decoded values are from its source.
struct tensor_error {
  double mse = 0;    ///< Mean of (x - x')^2.
  double snr_db = 0; ///< 10 log10(sum x^2 / sum (x - x')^2); infinite without error.
  float max_error = 0; ///< Largest |x - x'|.
};

/// Valid as long as what it was taken from says.
class encoded_view {
public:
  encoded_view(const kernels::recipe& how, const plane_map& where, const std::byte* bytes,
               const kernels::tensor_numbers* numbers, std::uint64_t rows, std::uint64_t cols,
               const tensor_error* measured = nullptr)
      : x_how(&how), x_where(&where), x_bytes(bytes), x_numbers(numbers), x_measured(measured),
        x_rows(rows), x_cols(cols) {
  }

  const kernels::recipe& method() const noexcept {
    return *x_how;
  }
  std::uint64_t rows() const noexcept {
    return x_rows;
  }
  std::uint64_t cols() const noexcept {
    return x_cols;
  }
  std::size_t planes() const noexcept {
    return x_where->count;
  }
  /// The bytes of plane i, in the order of the method's header ("codes", "scales", …).
  std::span<const std::byte> plane(std::size_t i) const noexcept {
    return {x_bytes + x_where->offset[i], x_where->bytes[i]};
  }
  const plane_map& map() const noexcept {
    return *x_where;
  }
  kernels::tensor_numbers numbers() const noexcept {
    return x_numbers == nullptr ? kernels::tensor_numbers{} : *x_numbers;
  }
  /// Null where nobody asked for it (stream_options::measure).
  const tensor_error* measured() const noexcept {
    return x_measured;
  }
  /// Bytes of all planes, without gaps.
  std::uint64_t bytes() const noexcept;
  /// Back to f32, row-major. Refuses an `out` that is not rows * cols long.
  expected<void> decode(std::span<float> out) const;

private:
  friend class tensor_stream;
  encoded_view() = default;
  /// The one whose planes lie behind its own, of the same shape.
  void to_next() noexcept {
    x_bytes += x_where->total;
    x_numbers += x_numbers != nullptr ? 1 : 0;
    x_measured += x_measured != nullptr ? 1 : 0;
  }

  const kernels::recipe* x_how = nullptr;
  const plane_map* x_where = nullptr;
  const std::byte* x_bytes = nullptr;
  const kernels::tensor_numbers* x_numbers = nullptr;
  const tensor_error* x_measured = nullptr;
  std::uint64_t x_rows = 0, x_cols = 0;
};

/// An encoded tensor that owns its bytes. Move it, or keep it as long as you like.
class encoded {
public:
  /// Room for a tensor of this shape; planes are unset.
  encoded(const kernels::recipe& how, std::uint64_t rows, std::uint64_t cols);
  /// A copy of a view.
  explicit encoded(const encoded_view& from);
  encoded(encoded&&) noexcept = default;
  encoded& operator=(encoded&&) noexcept = default;

  /// As long as this object lives where it is.
  encoded_view view() const noexcept {
    return {x_how, x_where, x_bytes.get(), &numbers, x_rows, x_cols};
  }
  std::span<const std::byte> plane(std::size_t i) const noexcept {
    return view().plane(i);
  }
  expected<void> decode(std::span<float> out) const {
    return view().decode(out);
  }
  std::uint64_t bytes() const noexcept {
    return view().bytes();
  }
  std::byte* data() noexcept {
    return x_bytes.get();
  }
  const plane_map& map() const noexcept {
    return x_where;
  }

  kernels::tensor_numbers numbers; ///< Of methods that need a number of the whole tensor.

private:
  kernels::recipe x_how;
  plane_map x_where;
  std::unique_ptr<std::byte[]> x_bytes;
  std::uint64_t x_rows, x_cols;
};

} // namespace viva
