#include "actors/pipeline/remote_order.hpp"

#include <cstring>

namespace viva::actors {
namespace {

/// From its first byte to its last.
std::uint64_t extent(const tensor_view& view) {
  return (view.rows - 1) * view.step() + view.cols * kernels::bytes_of(view.type);
}

} // namespace

std::uint64_t bring_over_bytes(const shared_table& shares, const tensor_view& view) {
  return shares.find(view.data, extent(view)) ? 0 : view.values() * kernels::bytes_of(view.type);
}

expected<brought_view> bring_over(shared_table& shares, const tensor_view& view) {
  if (auto at = shares.find(view.data, extent(view)))
    return brought_view{std::move(*at), view};
  const auto line = view.cols * kernels::bytes_of(view.type);
  auto made = shares.make(view.rows * line);
  if (!made)
    return tl::unexpected(made.error());
  (*made)->stays = true;
  auto* const to = (*made)->data();
  for (std::uint64_t r = 0; r < view.rows; ++r)
    std::memcpy(to + r * line, view.data + r * view.step(), line);
  return brought_view{{std::move(*made), 0}, {to, view.rows, view.cols, 0, view.type}};
}

} // namespace viva::actors
