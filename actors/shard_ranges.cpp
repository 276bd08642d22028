#include "actors/shard_ranges.hpp"

namespace viva::actors {
namespace {

void add(std::vector<byte_range>& to, placement plane, const strips& from) {
  for (std::uint64_t i = 0; i < from.count; ++i)
    to.push_back({plane.file, plane.offset + from.offset + i * from.pitch, from.bytes});
}

/// Rows of one side, plain or encoded.
void add_rows(std::vector<byte_range>& to, const work_tensor& t, const stored& side,
              const shard& s) {
  if (!side.recipe) {
    const auto row = t.cols * kernels::bytes_of(side.type);
    to.push_back({side.file, side.begin + s.first * row, s.count * row});
    return;
  }
  const auto planes = side.recipe->row->shape(*side.recipe, t.cols);
  for (std::size_t i = 0; i < planes.planes_count; ++i)
    add(to, {side.file, side.planes[i]},
        strips_of(planes.planes[i], element_of(side.transposed, i),
                  {s.first, s.count, t.rows, t.cols}));
}

} // namespace

std::vector<byte_range> source_ranges(const plan& p, const shard& s) {
  const auto& t = p.tensors[s.tensor];
  std::vector<byte_range> all;
  switch (s.what) {
    case task::copy:
    case task::fold: // rows are bytes
      all.push_back({t.source.file, t.source.begin + s.first, s.count});
      break;
    case task::measure:
      add_rows(all, t, *t.other, s);
      [[fallthrough]];
    case task::scan:
    case task::survey:
    case task::shares:
    case task::losses:
    case task::encode:
    case task::decode:
      add_rows(all, t, t.source, s);
      break;
  }
  return merged(std::move(all));
}

std::vector<byte_range> output_ranges(const plan& p, const shard& s) {
  std::vector<byte_range> all;
  for (const auto& [plane, where] : output_strips(p.tensors[s.tensor], s))
    add(all, plane, where);
  return merged(std::move(all));
}

std::vector<std::pair<placement, strips>> output_strips(const work_tensor& t, const shard& s) {
  switch (s.what) {
    case task::scan:
    case task::survey:
    case task::shares:
    case task::losses:
    case task::measure:
      return {};
    case task::encode: {
      const auto planes = t.target->row->shape(*t.target, t.cols);
      std::vector<std::pair<placement, strips>> result;
      for (std::size_t i = 0; i < planes.planes_count; ++i)
        result.emplace_back(t.out[i], strips_of(planes.planes[i], element_of(t.transposed, i),
                                                {s.first, s.count, t.rows, t.cols}));
      return result;
    }
    case task::fold:
    case task::decode:
    case task::copy:
      break;
  }
  const auto width = s.what == task::decode ? t.cols * kernels::bytes_of(*t.decoded) : 1;
  return {{t.out[0], {s.first * width, s.count * width, 1, s.count * width}}};
}

} // namespace viva::actors
