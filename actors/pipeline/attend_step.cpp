#include "actors/pipeline/attend_step.hpp"

#include "actors/pipeline/encoded.hpp"

#include <array>
#include <cstring>

namespace viva::actors {
namespace {

using kernels::attention::encoded_tensor;
using kernels::attention::inputs;
using kernels::attention::shape;
using kernels::attention::source_rows;
using kernels::attention::strides;

/// Units from the first to behind the last of (batch, heads, rows) lines; nothing where so many
/// cannot be. No dimension may be 0.
std::optional<std::uint64_t> extent(const strides& apart, std::uint64_t batch, std::uint64_t heads,
                                    std::uint64_t rows, std::uint64_t line) {
  std::uint64_t all = line;
  const auto add = [&all](std::uint64_t step, std::uint64_t count) {
    std::uint64_t way = 0;
    return count != 0 && !__builtin_mul_overflow(step, count - 1, &way)
           && !__builtin_add_overflow(all, way, &all);
  };
  const bool fine
    = add(apart.sequence, batch) && add(apart.head, heads) && add(apart.row, rows);
  return fine && all >> 61 == 0 ? std::optional(all) : std::nullopt; // floats fit, too
}

/// Whether each row has a place of its own, so that there are no more rows than memory; sequences
/// and heads may share theirs, as they are bounded by what comes out.
bool rows_lie_apart(std::uint64_t step, std::uint64_t rows, std::uint64_t line) {
  return rows <= 1 || step >= line;
}

std::uint64_t packed_bytes(const shape& of, const source_rows& side, std::size_t heads,
                           std::size_t rows) {
  if (side.encoded != nullptr)
    return map_planes(side.encoded->how, side.encoded->rows_count, side.encoded->cols).total;
  return of.batch * heads * rows * of.head_size * kernels::bytes_of(side.type);
}

/// Where rows lie in shared memory, as a whole.
std::optional<shared_table::place> found(const shared_table& shares, const shape& of,
                                         const source_rows& side, std::size_t heads,
                                         std::size_t rows) {
  const auto line = of.head_size * kernels::bytes_of(side.type);
  if (side.encoded != nullptr || rows == 0 || !rows_lie_apart(side.bytes.row, rows, line))
    return {};
  const auto bytes = extent(side.bytes, of.batch, heads, side.skipped + rows, line);
  return bytes ? shares.find(side.data, *bytes) : std::nullopt;
}

void copy_planes(const encoded_tensor& whole, attend_side& to, std::byte* out) {
  to.method = whole.how.name();
  to.type = whole.how.source;
  to.numbers = whole.numbers;
  to.rows_count = whole.rows_count;
  to.cols = whole.cols;
  to.head_columns = whole.head_columns;
  to.rows = whole.rows;
  const auto map = map_planes(whole.how, whole.rows_count, whole.cols);
  for (std::size_t p = 0; p < map.count; ++p)
    std::memcpy(out + map.offset[p], whole.planes[p], map.bytes[p]);
}

void copy_rows(const shape& of, const source_rows& side, std::size_t heads, std::size_t rows,
               std::byte* out) {
  const auto line = of.head_size * kernels::bytes_of(side.type);
  for (std::size_t b = 0; b < of.batch; ++b)
    for (std::size_t h = 0; h < heads; ++h)
      for (std::size_t i = 0; i < rows; ++i, out += line)
        std::memcpy(out, side.at(b, h, i), line);
}

expected<attend_side> bring_side(shared_table& shares, const shape& of, const source_rows& side,
                                 std::size_t heads, std::size_t rows,
                                 std::vector<std::shared_ptr<shared_region>>& regions) {
  attend_side to;
  to.type = side.type;
  if (rows == 0)
    return to;
  if (auto at = found(shares, of, side, heads, rows)) {
    to.region = at->region->id;
    to.offset = at->offset;
    to.bytes = side.bytes;
    to.skipped = side.skipped;
    regions.push_back(std::move(at->region));
    return to;
  }
  if (side.encoded != nullptr && !rows_lie_apart(side.encoded->rows.row, rows, 1))
    return fail(errc::bad_shape, "rows of an encoded k or v lie on one another; to lanes that are "
                                 "apart each must have its own (a row stride of 1 or more)");
  auto made = shares.make(packed_bytes(of, side, heads, rows));
  if (!made)
    return tl::unexpected(made.error());
  (*made)->stays = true;
  to.region = (*made)->id;
  if (side.encoded != nullptr) {
    to.skipped = side.skipped;
    copy_planes(*side.encoded, to, (*made)->data());
  } else {
    to.bytes = strides::packed(heads, rows, of.head_size * kernels::bytes_of(side.type));
    copy_rows(of, side, heads, rows, (*made)->data());
  }
  regions.push_back(std::move(*made));
  return to;
}

std::uint64_t bias_floats(const shape& of, const kernels::attention::additive_bias& bias) {
  return bias.data == nullptr
           ? 0
           : extent(bias.values, of.batch, of.heads, of.queries, of.keys).value_or(0);
}

/// A side as the kernel takes it; `planes` is filled where it is encoded.
std::optional<source_rows> open_side(const attend_side& side, const shape& of, std::size_t heads,
                                     std::size_t rows, const step_memory& memory,
                                     encoded_tensor& planes) {
  if (side.skipped >> 60 != 0 || rows >> 60 != 0)
    return {};
  source_rows result;
  if (side.method.empty()) {
    const auto line = of.head_size * kernels::bytes_of(side.type);
    const auto bytes = rows_lie_apart(side.bytes.row, rows, line)
                         ? extent(side.bytes, of.batch, heads, side.skipped + rows, line)
                         : std::nullopt;
    result = {bytes ? memory.read(side.region, side.offset, *bytes) : nullptr, side.type,
              side.bytes, side.skipped};
    return result.data != nullptr ? std::optional(result) : std::nullopt;
  }
  const auto how = kernels::parse_recipe(side.method, side.type);
  const auto last = extent(side.rows, of.batch, heads, side.skipped + rows, 1);
  if (!how || !last || *last > side.rows_count || side.rows_count >> 40 != 0
      || side.cols >> 20 != 0 || side.cols < of.head_size
      || !rows_lie_apart(side.rows.row, rows, 1)
      || (heads > 1 && side.head_columns > (side.cols - of.head_size) / (heads - 1)))
    return {};
  const auto map = map_planes(*how, side.rows_count, side.cols);
  const auto* const data = memory.read(side.region, side.offset, map.total);
  if (data == nullptr)
    return {};
  planes.how = *how;
  planes.numbers = side.numbers;
  planes.rows_count = side.rows_count;
  planes.cols = side.cols;
  planes.rows = side.rows;
  planes.head_columns = side.head_columns;
  for (std::size_t p = 0; p < map.count; ++p)
    planes.planes[p] = data + map.offset[p];
  result.skipped = side.skipped;
  result.encoded = &planes;
  return kernels::attention::check(of, planes) ? std::optional(result) : std::nullopt;
}

} // namespace

std::uint64_t bring_over_bytes(const shared_table& shares, const shape& of, const inputs& in) {
  std::uint64_t sum = bias_floats(of, in.bias) * sizeof(float);
  const auto add = [&](const source_rows& side, std::size_t heads, std::size_t rows) {
    if (rows != 0 && !found(shares, of, side, heads, rows))
      sum += packed_bytes(of, side, heads, rows);
  };
  add(in.q, of.heads, of.queries);
  add(in.k, of.kv_heads, in.k.data != nullptr || in.k.encoded != nullptr ? of.keys : 0);
  add(in.v, of.kv_heads, in.v.data != nullptr || in.v.encoded != nullptr ? of.keys : 0);
  return sum;
}

expected<brought_attention> bring_over(shared_table& shares, const shape& of, const inputs& in) {
  brought_attention all;
  const auto bring = [&](attend_side& to, const source_rows& side, std::size_t heads,
                         std::size_t rows) -> expected<void> {
    const bool given = side.data != nullptr || side.encoded != nullptr;
    auto made = bring_side(shares, of, side, heads, given ? rows : 0, all.regions);
    if (!made)
      return tl::unexpected(made.error());
    to = std::move(*made);
    return {};
  };
  for (auto fine : {bring(all.q, in.q, of.heads, of.queries),
                    bring(all.k, in.k, of.kv_heads, of.keys),
                    bring(all.v, in.v, of.kv_heads, of.keys)})
    if (!fine)
      return tl::unexpected(fine.error());
  if (const auto floats = bias_floats(of, in.bias); floats != 0) {
    auto made = shares.make(floats * sizeof(float));
    if (!made)
      return tl::unexpected(made.error());
    (*made)->stays = true;
    std::memcpy((*made)->data(), in.bias.data, floats * sizeof(float));
    all.bias = {(*made)->id, 0, in.bias.values};
    all.regions.push_back(std::move(*made));
  }
  return all;
}

std::optional<status> run(const attend_step& step, const step_memory& memory) {
  thread_local kernels::scratch scratch;
  const auto& of = step.of;
  if (!kernels::attention::check(of) || of.keys == 0 || of.queries == 0
      || step.first >= kernels::attention::pieces(of)
      || step.count > kernels::attention::pieces(of) - step.first)
    return {};
  encoded_tensor none, k_planes, v_planes;
  const auto q = open_side(step.q, of, of.heads, of.queries, memory, none);
  const auto k = open_side(step.k, of, of.kv_heads, of.keys, memory, k_planes);
  const auto v = open_side(step.v, of, of.kv_heads, of.keys, memory, v_planes);
  const auto line = of.head_size * kernels::bytes_of(step.type);
  const auto packed = strides::packed(of.heads, of.queries, line);
  const auto bytes = extent(packed, of.batch, of.heads, of.queries, line);
  if (!q || q->encoded != nullptr || !k || !v || !bytes || step.lse % alignof(float) != 0)
    return {};
  inputs in{*q, *k, *v, {}};
  if (step.bias.region != 0) {
    const auto floats = extent(step.bias.values, of.batch, of.heads, of.queries, of.keys);
    const auto* data = floats && step.bias.offset % alignof(float) == 0
                         ? memory.read(step.bias.region, step.bias.offset, *floats * sizeof(float))
                         : nullptr;
    if (data == nullptr)
      return {};
    in.bias = {reinterpret_cast<const float*>(data), step.bias.values};
  }
  auto* const out = memory.write(step.to, step.out, *bytes);
  auto* const lse
    = memory.write(step.to, step.lse, of.batch * of.heads * of.queries * sizeof(float));
  if (out == nullptr || lse == nullptr)
    return {};
  return kernels::attention::attend(of, in, {out, step.type, packed,
                                             reinterpret_cast<float*>(lse)},
                                    step.first, step.count, scratch);
}

} // namespace viva::actors
