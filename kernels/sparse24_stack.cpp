#include "kernels/sparse24_stack.hpp"

#include "kernels/scalar.hpp"
#include "kernels/scratch.hpp"
#include "kernels/sparse24_cutlass.hpp"

#include <algorithm>
#include <array>
#include <numeric>

namespace viva::kernels::sparse24_stack {

namespace {

/// Values of one run, whose kept half stays in cache until it is encoded.
constexpr std::size_t run_values = std::size_t{32} << 10;

/// METHOD, as a recipe for the kept values.
recipe inner_of(const recipe& with) {
  const auto name = with.row->name.substr(with.row->name.find('+') + 1);
  recipe inner = with;
  inner.row = find_method(name == "nf4" ? "nf4-f16" : name);
  inner.channels = {};
  return inner;
}

/// What one thread needs for a run; a null piece means that there is no memory.
struct run_memory {
  scratch kept, bitmask;
};

run_memory& memory() noexcept {
  static thread_local run_memory mine;
  return mine;
}

/// Calls body(first, count) for runs of rows, each a whole grain but the last, until one refuses.
template <class Body>
status for_each_run(const parts& stack, std::size_t rows, std::size_t cols, Body&& body) {
  const auto grain = static_cast<std::size_t>(stack.grain());
  const std::size_t step =
      std::max(grain, run_values / std::max<std::size_t>(cols, 1) / grain * grain);
  for (std::size_t first = 0; first < rows; first += step)
    if (auto done = body(first, std::min(step, rows - first)); !done) {
      done.position += first * cols;
      return done;
    }
  return {};
}

/// METHOD's planes at row `first` of a run.
template <class Byte>
std::array<Byte*, planes_max> planes_at(const parts& stack, std::span<Byte* const> planes,
                                        std::size_t first, std::size_t cols) noexcept {
  std::array<Byte*, planes_max> at{};
  for (std::size_t p = 0; p < stack.mask; ++p)
    at[p] = planes[p] + stack.shape.planes[p].offset(first, cols / 2);
  return at;
}

/// Where row `first` of the last plane lies.
std::size_t mask_offset(const parts& stack, std::size_t first, std::size_t cols) noexcept {
  return stack.cutlass ? first * (cols / 8) : first * sparse24::mask_bytes(cols);
}

status encode_run(path which, const recipe& with, const parts& stack, const matrix& run,
                  const tensor_numbers& numbers, std::span<std::byte* const> planes,
                  std::byte* mask) noexcept {
  const std::size_t kept_cols = run.cols / 2;
  auto* const kept = memory().kept.of<std::byte>(run.rows * kept_cols * bytes_of(run.type));
  auto* bitmask = mask;
  if (stack.cutlass)
    bitmask = memory().bitmask.of<std::byte>(run.rows * sparse24::mask_bytes(run.cols));
  if (kept == nullptr || (stack.cutlass && bitmask == nullptr))
    return {errc::over_budget};
  if (const auto done = sparse24::prune(which, with, run, kept, bitmask); !done)
    return done;
  const auto& method = *stack.inner.row;
  const auto encode = which == path::simd ? method.encode_simd : method.encode_reference;
  const matrix values{kept, run.type, run.rows, kept_cols};
  if (const auto done = encode(stack.inner, values, numbers, planes); !done)
    return {done.code}; // nothing a method may still refuse has a position here
  if (stack.cutlass)
    sparse24_cutlass::write_metadata(which, planes[0], 1, bitmask, run.rows, run.cols, mask);
  return {};
}

status encode(path which, const recipe& with, const matrix& in, const tensor_numbers& numbers,
              std::span<std::byte* const> out) noexcept {
  const parts stack = parts_of(with, in.cols);
  return for_each_run(stack, in.rows, in.cols, [&](std::size_t first, std::size_t count) {
    const auto planes = planes_at(stack, out, first, in.cols);
    return encode_run(which, with, stack, in.slice(first, count), numbers,
                      {planes.data(), stack.mask},
                      out[stack.mask] + mask_offset(stack, first, in.cols));
  });
}

status decode_run(path which, const parts& stack, std::size_t rows, std::size_t cols,
                  const tensor_numbers& numbers, std::span<const std::byte* const> planes,
                  const std::byte* mask, bool past_cache, float* out) noexcept {
  auto* const kept = memory().kept.of<float>(rows * cols / 2);
  if (kept == nullptr)
    return {errc::over_budget};
  if (stack.cutlass) {
    auto* const bitmask = memory().bitmask.of<std::byte>(rows * sparse24::mask_bytes(cols));
    if (bitmask == nullptr)
      return {errc::over_budget};
    sparse24_cutlass::read_metadata(mask, 1, rows, cols, bitmask);
    mask = bitmask;
  }
  const auto& method = *stack.inner.row;
  const auto decode = which == path::simd ? method.decode_simd : method.decode_reference;
  if (const auto done = decode(stack.inner, rows, cols / 2, numbers, planes, kept); !done)
    return done;
  return sparse24::spread(which, reinterpret_cast<const std::byte*>(kept), dtype::f32, mask, rows,
                          cols, past_cache, out);
}

status decode(path which, const recipe& with, std::size_t rows, std::size_t cols,
              const tensor_numbers& numbers, std::span<const std::byte* const> in,
              float* out) noexcept {
  if (cols % with.cols_multiple() != 0)
    return {errc::bad_shape};
  const parts stack = parts_of(with, cols);
  const bool past_cache = which == path::simd && sparse24::spreads_past_cache(rows, cols, out);
  return for_each_run(stack, rows, cols, [&](std::size_t first, std::size_t count) {
    const auto planes = planes_at(stack, in, first, cols);
    return decode_run(which, stack, count, cols, numbers, {planes.data(), stack.mask},
                      in[stack.mask] + mask_offset(stack, first, cols), past_cache,
                      out + first * cols);
  });
}

} // namespace

parts parts_of(const recipe& with, std::uint64_t cols) {
  parts stack{.inner = inner_of(with), .shape = {}};
  stack.shape = stack.inner.row->shape(stack.inner, cols / 2);
  stack.mask = stack.shape.planes_count;
  stack.cutlass = with.row->name.starts_with("sparse24-cutlass+");
  return stack;
}

std::uint64_t parts::grain() const noexcept {
  return cutlass ? std::lcm(shape.rows_grain, std::uint64_t{sparse24_cutlass::slab_rows})
                 : shape.rows_grain;
}

geometry shape(const recipe& with, std::uint64_t cols) {
  const parts stack = parts_of(with, cols);
  geometry all = stack.shape;
  for (auto& each : all.planes)
    each.unit_values *= 2; // each second value is kept
  all.planes[stack.mask] = stack.cutlass
                               ? sparse24_cutlass::metadata_plane(cols)
                               : plane{"bitmask", plane::unit_kind::row, 0,
                                       static_cast<std::uint32_t>(sparse24::mask_bytes(cols))};
  all.planes_count = stack.mask + 1;
  all.rows_grain = stack.grain();
  return all;
}

status encode_reference(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                        std::span<std::byte* const> out) noexcept {
  if (in.cols % with.cols_multiple() != 0)
    return {errc::bad_shape};
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  return encode(path::reference, with, in, numbers, out);
}

status encode_simd(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                   std::span<std::byte* const> out) noexcept {
  if (in.cols % with.cols_multiple() != 0)
    return {errc::bad_shape};
  return encode(path::simd, with, in, numbers, out);
}

status decode_reference(const recipe& with, std::size_t rows, std::size_t cols,
                        const tensor_numbers& numbers, std::span<const std::byte* const> in,
                        float* out) noexcept {
  return decode(path::reference, with, rows, cols, numbers, in, out);
}

status decode_simd(const recipe& with, std::size_t rows, std::size_t cols,
                   const tensor_numbers& numbers, std::span<const std::byte* const> in,
                   float* out) noexcept {
  return decode(path::simd, with, rows, cols, numbers, in, out);
}

} // namespace viva::kernels::sparse24_stack
