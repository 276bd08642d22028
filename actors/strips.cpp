#include "actors/strips.hpp"

#include "kernels/transpose.hpp"

#include <algorithm>
#include <cstring>

namespace viva::actors {

strips strips_of(const kernels::plane& p, std::uint32_t transposed, const row_run& run) noexcept {
  const auto bytes = p.bytes(run.first, run.count, run.cols);
  if (transposed == 0)
    return {p.offset(run.first, run.cols), bytes, 1, bytes};
  const auto units = bytes / p.unit_bytes;
  const strips all{run.first / p.unit_rows * transposed, units * transposed,
                   p.unit_bytes / transposed,
                   p.bytes(0, run.rows, run.cols) / p.unit_bytes * transposed};
  if (all.pitch == all.bytes) // all rows: no gaps between
    return {0, all.total(), 1, all.total()};
  return all;
}

void turn_for_file(const kernels::plane& p, std::uint32_t transposed,
                   std::span<const std::byte> run, std::span<std::byte> out) noexcept {
  const auto units = run.size() / p.unit_bytes;
  kernels::transpose({run.data(), p.unit_bytes}, units, p.unit_bytes / transposed, transposed,
                     {out.data(), units * transposed});
}

void gather(const kernels::plane& p, std::uint32_t transposed, const strips& from,
            const std::byte* plane, std::span<std::byte> out) noexcept {
  const auto units = out.size() / p.unit_bytes;
  const auto pitch = from.count == 1 ? units * transposed : from.pitch;
  kernels::transpose({plane + from.offset, pitch}, p.unit_bytes / transposed, units, transposed,
                     {out.data(), p.unit_bytes});
}

expected<void> scatter(const workplace& place, placement plane, const strips& to,
                       std::span<const std::byte> bytes) {
  for (std::uint64_t i = 0; i < to.count; ++i) {
    const placement where{plane.file, plane.offset + to.offset + i * to.pitch};
    if (auto written = place.write(where, bytes.subspan(i * to.bytes, to.bytes)); !written)
      return written;
  }
  return {};
}

expected<void> read_strips(const workplace& place, placement plane, const strips& from,
                           std::uint64_t first, std::span<std::byte> out) {
  while (!out.empty()) {
    const auto strip = first / from.bytes, within = first % from.bytes;
    const auto part = out.first(std::min<std::uint64_t>(out.size(), from.bytes - within));
    const placement where{plane.file, plane.offset + from.offset + strip * from.pitch + within};
    if (auto read = place.read_back(where, part); !read)
      return read;
    first += part.size();
    out = out.subspan(part.size());
  }
  return {};
}

} // namespace viva::actors
