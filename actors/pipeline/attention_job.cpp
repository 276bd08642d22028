#include "actors/pipeline/attention_job.hpp"

#include <algorithm>

namespace viva::actors {
namespace {

using kernels::dtype;
using kernels::attention::shape;

constexpr std::size_t range_keys = 4096;
constexpr std::size_t ranges_max = 64;
constexpr std::size_t parts_bytes_max = 64 << 20; ///< Of all ranges together.

std::size_t rows_of(const shape& of) {
  return of.batch * of.heads * of.queries;
}

/// Bytes of the f32 rows and log-sum-exps of one range.
std::size_t part_bytes(const shape& of) {
  return rows_of(of) * (of.head_size + 1) * sizeof(float);
}

/// Few queries on many keys are cut by keys; many queries are work enough for all lanes without.
std::uint32_t ranges_of(const shape& of) {
  const auto by_keys = std::min((of.keys + range_keys - 1) / range_keys, ranges_max);
  const auto by_memory = parts_bytes_max / std::max<std::size_t>(part_bytes(of), 1);
  return static_cast<std::uint32_t>(std::max<std::size_t>(1, std::min(by_keys, by_memory)));
}

std::size_t shards_of(const shape& of) {
  return std::max<std::size_t>(1, ranges_of(of) * kernels::attention::pieces(of));
}

/// Of k or v, as they lie.
std::uint64_t side_bytes(const shape& of, const kernels::attention::source_rows& side) {
  if (side.encoded == nullptr)
    return of.batch * of.kv_heads * of.keys * of.head_size * kernels::bytes_of(side.type);
  const auto& whole = *side.encoded;
  std::uint64_t bytes = 0;
  const auto planes = whole.how.row->shape(whole.how, whole.cols);
  for (const auto& each : planes.all())
    bytes += each.bytes(0, whole.rows_count, whole.cols);
  return bytes;
}

std::size_t row_bytes(const attention_view& view) {
  return view.of.head_size * kernels::bytes_of(view.in.q.type);
}

} // namespace

expected<void> check_encoded(const shape& of, const kernels::attention::encoded_tensor& side) {
  const auto method = side.how.name();
  switch (kernels::attention::check(of, side).code) {
  case errc::ok:
    return {};
  case errc::unsupported:
    return fail(errc::unsupported,
                method + " encodes more rows together than attention decodes at a time; take a "
                         "method whose blocks lie within rows");
  default:
    return fail(errc::bad_shape, method + "'s blocks reach over the end of a head of "
                                   + std::to_string(of.head_size)
                                   + " columns; take a smaller block, or one that divides a head");
  }
}

expected<void> check_attention(const attention_view& what, const std::string& name) {
  const auto& of = what.of;
  const auto wrong = [&](errc code, const std::string& why) {
    return fail(code, name + ": " + why);
  };
  if (!kernels::attention::check(of))
    return wrong(errc::bad_shape,
                 std::to_string(of.heads) + " heads, " + std::to_string(of.kv_heads)
                   + " kv heads, head size " + std::to_string(of.head_size)
                   + ": kv heads must divide heads, and a head size be a multiple of 8 from 32 to "
                     "256");
  if (what.in.q.encoded != nullptr)
    return wrong(errc::unsupported, "q is encoded; only k and v may be");
  const bool empty = rows_of(of) == 0;
  bool there = empty || what.in.q.data != nullptr;
  for (const auto* side : {&what.in.k, &what.in.v}) {
    if (side->encoded != nullptr)
      if (auto fine = check_encoded(of, *side->encoded); !fine)
        return wrong(fine.error().code, fine.error().text);
    there = there && (empty || of.keys == 0 || side->encoded != nullptr || side->data != nullptr);
  }
  return there ? expected<void>{}
               : wrong(errc::bad_shape, "q, k or v has fewer bytes than its shape");
}

attention_job::attention_job(order what, const attention_view& view, std::shared_ptr<desk> work,
                             answer to)
    : shard_rounds(std::move(what), shards_of(view.of), std::move(work)), x_view(view),
      x_answer(std::move(to)), x_rows(rows_of(view.of)),
      x_pieces(kernels::attention::pieces(view.of)), x_ranges(ranges_of(view.of)) {
}

std::uint64_t attention_job::bytes() const {
  return x_rows * (row_bytes(x_view) + sizeof(float))
         + (x_ranges > 1 ? x_ranges * part_bytes(x_view.of) : 0);
}

void attention_job::begin(budget::lease lease) {
  if (!lease)
    return stop({errc::interrupted, name() + ": the pipeline is closed"});
  start(parts_round, [&] {
    x_lease = std::move(lease);
    x_result.emplace();
    x_result->type = x_view.in.q.type;
    x_result->out.resize(x_rows * row_bytes(x_view));
    x_result->lse.resize(x_rows);
    x_result->key_ranges = x_ranges;
    if (x_ranges > 1) {
      x_out.resize(x_ranges * x_rows * x_view.of.head_size);
      x_lse.resize(x_ranges * x_rows);
    }
  });
}

expected<unit_tally> attention_job::run(unsigned round, std::size_t shard,
                                        const lane_floor& floor) {
  floor.step();
  if (x_rows == 0)
    return unit_tally{};
  if (round == merging_round) {
    merge_rows(shard);
    return unit_tally{};
  }
  if (const auto done = run_part(shard); !done)
    return fail(done.code,
                name()
                  + (done.code == errc::malformed
                       ? ": k or v has bytes that its method cannot have written; encode it again"
                       : ": no memory for a tile of attention"));
  floor.step();
  const auto& of = x_view.of;
  const auto bytes = side_bytes(of, x_view.in.k) + side_bytes(of, x_view.in.v);
  return unit_tally{shard == 0 ? 1u : 0u, bytes / (x_ranges * x_pieces)};
}

// Piece shard % pieces of range shard / pieces, into the range's place, or into the result where
// there is only one.
status attention_job::run_part(std::size_t shard) {
  thread_local kernels::scratch memory;
  auto [of, in] = x_view;
  const auto range = shard / x_pieces;
  const auto first = of.keys * range / x_ranges, end = of.keys * (range + 1) / x_ranges;
  of.keys_after += of.keys - end;
  of.keys = end - first;
  in.k.skipped += first;
  in.v.skipped += first;
  if (in.bias.data != nullptr)
    in.bias.data += first;
  const auto packed = [&](dtype type) {
    return kernels::attention::strides::packed(of.heads, of.queries,
                                               of.head_size * kernels::bytes_of(type));
  };
  kernels::attention::outputs to;
  if (x_ranges == 1)
    to = {x_result->out.data(), x_result->type, packed(x_result->type), x_result->lse.data()};
  else
    to = {reinterpret_cast<std::byte*>(x_out.data() + range * x_rows * of.head_size), dtype::f32,
          packed(dtype::f32), x_lse.data() + range * x_rows};
  return kernels::attention::attend(of, in, to, shard % x_pieces, 1, memory);
}

void attention_job::merge_rows(std::size_t shard) {
  const auto shards = x_ranges * x_pieces;
  const auto first = x_rows * shard / shards, end = x_rows * (shard + 1) / shards;
  std::vector<kernels::attention::part> parts;
  for (std::size_t range = 0; range < x_ranges; ++range) {
    const auto row = range * x_rows + first;
    parts.push_back({x_out.data() + row * x_view.of.head_size, x_lse.data() + row});
  }
  kernels::attention::merge(parts, end - first, x_view.of.head_size,
                            x_result->out.data() + first * row_bytes(x_view), x_result->type,
                            x_result->lse.data() + first);
}

bool attention_job::round_done(unsigned round) {
  return round == parts_round && x_ranges > 1;
}

void attention_job::deliver(std::optional<error> why) {
  auto lease = std::move(x_lease);
  if (why)
    return x_answer->set(tl::unexpected(std::move(*why)));
  x_out = {};
  x_lse = {};
  auto held = std::make_shared<budget::lease>(std::move(lease));
  x_answer->set(std::move(*x_result), std::move(held));
}

} // namespace viva::actors
