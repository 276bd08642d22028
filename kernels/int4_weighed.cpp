#include "kernels/int4_weighed.hpp"

#include "kernels/int4_search.hpp"
#include "kernels/scalar.hpp"

#include <algorithm>
#include <array>

namespace viva::kernels::int4_weighed {

namespace {

constexpr std::size_t group_max = 128;

float scale_of(const float* x, const float* w, std::size_t count, int4::group_scale by,
               dtype source) {
  std::array<float, int4::factors_count> a, b;
  for (std::size_t f = 0; f < int4::factors_count; ++f)
    int4::sums_of(x, w, count, by, int4::inverse_factor(f), a[f], b[f]);
  return int4::best_scale(a.data(), b.data(), by, source);
}

} // namespace

bool takes(const recipe& with) noexcept {
  return (with.flags & int4::search) != 0 && !with.channels.empty();
}

status encode_reference(const recipe& with, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept {
  if (in.cols % with.block != 0 || with.channels.size() != in.cols)
    return {errc::bad_shape};
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  const std::size_t row_groups = in.cols / with.block;
  for (std::size_t g = 0; g < in.rows * row_groups; ++g) {
    const auto first = g * with.block;
    std::array<float, group_max> x;
    float amax = 0;
    for (std::size_t i = 0; i < with.block; ++i) {
      x[i] = value_of(in, first + i);
      amax = std::max(amax, magnitude(x[i]));
    }
    const auto plain = with.flags & ~int4::search;
    auto by = int4::group_scale_reference(x.data(), nullptr, with.block, plain, in.type);
    if (int4::searchable(amax))
      by.scale =
          scale_of(x.data(), with.channels.data() + first % in.cols, with.block, by, in.type);
    for (std::size_t i = 0; i < with.block; i += 2)
      out[0][(first + i) / 2] = static_cast<std::byte>((int4::code_of(x[i], by) + 8)
                                                       | (int4::code_of(x[i + 1], by) + 8) << 4);
    put_value(by.scale, in.type, out[1], g);
    if ((with.flags & int4::asym) != 0)
      int4::put_zero(by.zero, g / row_groups, g % row_groups, row_groups, out[2]);
  }
  return {};
}

} // namespace viva::kernels::int4_weighed
