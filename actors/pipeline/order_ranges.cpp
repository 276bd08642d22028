#include "actors/pipeline/order_ranges.hpp"

#include "actors/pipeline/encoded.hpp"

#include <algorithm>

namespace viva::actors {
namespace {

using kernels::attention::piece_rows;

/// The bytes of rows [first, first + count) in planes that begin at `offset`.
void add_planes(std::vector<byte_range>& to, std::uint32_t region, std::uint64_t offset,
                const kernels::recipe& how, std::uint64_t rows, std::uint64_t cols,
                std::uint64_t first, std::uint64_t count) {
  const auto map = map_planes(how, rows, cols);
  const auto shape = how.row->shape(how, cols);
  for (std::size_t p = 0; p < shape.planes_count; ++p)
    to.push_back({region, offset + map.offset[p] + shape.planes[p].offset(first, cols),
                  shape.planes[p].bytes(first, count, cols)});
}

touched ranges_of(const tensor_order& order, const tensor_run& run, const kernels::recipe& how) {
  const auto map = map_planes(how, run.rows, run.cols);
  return {{{run.region, run.offset, run.source_bytes(order.type)}},
          {{order.out, run.to, run.count * map.total}}};
}

touched ranges_of(const shard_step& step) {
  const auto line = step.cols * kernels::bytes_of(step.type);
  const auto apart = step.row_bytes == 0 ? line : step.row_bytes;
  touched all;
  all.reads.push_back(
    {step.from, step.offset + step.first * apart, (step.count - 1) * apart + line});
  const auto how = kernels::parse_recipe(step.method, step.type);
  if (how && step.what == shard_step::kind::encode)
    add_planes(all.writes, step.to, step.to_offset, *how, step.rows, step.cols, step.first,
               step.count);
  return all;
}

/// Rows [first, first + count) of one head.
void add_rows(std::vector<byte_range>& to, const attend_side& side, std::uint64_t sequence,
              std::uint64_t head, std::uint64_t first, std::uint64_t count,
              std::uint64_t head_size) {
  first += side.skipped;
  if (side.method.empty()) {
    const auto line = head_size * kernels::bytes_of(side.type);
    to.push_back({side.region, side.offset + side.bytes.at(sequence, head, first),
                  (count - 1) * side.bytes.row + line});
    return;
  }
  const auto how = kernels::parse_recipe(side.method, side.type);
  if (!how)
    return;
  const auto grain = how->row->shape(*how, side.cols).rows_grain;
  const auto begin = side.rows.at(sequence, head, first) / grain * grain;
  const auto last = side.rows.at(sequence, head, first + count - 1);
  const auto end = std::min<std::uint64_t>((last / grain + 1) * grain, side.rows_count);
  add_planes(to, side.region, side.offset, *how, side.rows_count, side.cols, begin, end - begin);
}

/// Of what a piece computes, the queries of each of its heads.
void add_queries(touched& to, const attend_step& step, const piece_rows& piece) {
  const auto queries = step.of.queries;
  for (auto row = piece.first, left = piece.rows; left != 0;) {
    const auto head = row / queries % step.of.heads, query = row % queries;
    const auto count = std::min(left, queries - query);
    add_rows(to.reads, step.q, piece.sequence, head, query, count, step.of.head_size);
    if (step.bias.region != 0)
      to.reads.push_back(
        {step.bias.region,
         step.bias.offset + step.bias.values.at(piece.sequence, head, query) * sizeof(float),
         ((count - 1) * step.bias.values.row + step.of.keys) * sizeof(float)});
    row += count;
    left -= count;
  }
}

touched ranges_of(const attend_step& step) {
  touched all;
  const auto line = step.of.head_size * kernels::bytes_of(step.type);
  for (auto i = step.first; i < step.first + step.count; ++i) {
    const auto piece = rows_of_piece(step.of, i);
    add_queries(all, step, piece);
    for (const auto* side : {&step.k, &step.v})
      add_rows(all.reads, *side, piece.sequence, piece.kv_head, 0, step.of.keys,
               step.of.head_size);
    all.writes.push_back({step.to, step.out + piece.first * line, piece.rows * line});
    all.writes.push_back(
      {step.to, step.lse + piece.first * sizeof(float), piece.rows * sizeof(float)});
  }
  all.reads = merged(std::move(all.reads)); // pieces of a kv head read the same keys
  all.writes = merged(std::move(all.writes));
  return all;
}

} // namespace

std::vector<touched> ranges_of(const tensor_order& order) {
  std::vector<touched> all;
  if (const auto how = kernels::parse_recipe(order.method, order.type); how)
    for (const auto& run : order.runs)
      all.push_back(ranges_of(order, run, *how));
  for (const auto& step : order.steps)
    all.push_back(ranges_of(step));
  for (const auto& step : order.attends)
    all.push_back(ranges_of(step));
  return all;
}

} // namespace viva::actors
