#include "actors/pipeline/attention_job.hpp"

#include <algorithm>

namespace viva {

expected<attention_view> view_of(const tensor_view& q, const tensor_view& k, const tensor_view& v,
                                 const attention_options& how) {
  const auto kv_heads = how.kv_heads != 0 ? how.kv_heads : how.heads;
  if (how.heads == 0 || q.cols % how.heads != 0)
    return fail(errc::bad_shape, "q has " + std::to_string(q.cols) + " columns, which "
                                   + std::to_string(how.heads) + " heads do not share evenly");
  const auto head_size = q.cols / how.heads;
  for (const auto* side : {&k, &v})
    if (side->rows != k.rows || side->cols % kv_heads != 0 || side->cols / kv_heads != head_size)
      return fail(errc::bad_shape,
                  std::string(side == &k ? "k" : "v") + " is (" + std::to_string(side->rows) + ", "
                    + std::to_string(side->cols) + ") and must be ("
                    + (side == &k ? std::string("keys") : std::to_string(k.rows)) + ", "
                    + std::to_string(kv_heads) + " kv heads of " + std::to_string(head_size)
                    + ")");
  attention_view made;
  made.of = {.heads = how.heads,
             .kv_heads = kv_heads,
             .queries = q.rows,
             .keys = k.rows,
             .head_size = head_size,
             .scale = how.scale,
             .causal = how.causal,
             .window = how.window};
  const auto rows_of = [&](const tensor_view& side) {
    return kernels::attention::source_rows{
      side.data, side.type, {0, head_size * kernels::bytes_of(side.type), side.step()}};
  };
  made.in = {rows_of(q), rows_of(k), rows_of(v)};
  return made;
}

} // namespace viva

namespace viva::actors {
namespace {

using kernels::attention::shape;

constexpr std::size_t range_keys = 4096;
constexpr std::size_t ranges_max = 64;
constexpr std::size_t parts_bytes_max = 64 << 20; ///< Of all ranges together.

/// Few queries on many keys are cut by keys; many queries are work enough for all lanes without.
std::uint32_t ranges_of(const shape& of) {
  const auto by_keys = std::min((of.keys + range_keys - 1) / range_keys, ranges_max);
  const auto each = std::max<std::size_t>(attention_parts::range_bytes(of), 1);
  const auto by_memory = parts_bytes_max / each;
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
  const bool empty = attention_parts::rows_of(of) == 0;
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

error name_attention_problem(const status& why, const std::string& name) {
  if (why.code == errc::malformed)
    return {why.code,
            name + ": k or v has bytes that its method cannot have written; encode it again"};
  if (why.code == errc::bad_shape)
    return {why.code, name + ": more keys than attention counts, or a head size that is none"};
  return {why.code, name + ": no memory for a tile of attention"};
}

attention_job::attention_job(order what, const attention_view& view, std::shared_ptr<desk> work,
                             std::shared_ptr<shared_table> shares, lane_grid homes,
                             answer to)
    : shard_rounds(std::move(what), shards_of(view.of), std::move(work)), x_view(view),
      x_answer(std::move(to)), x_pieces(kernels::attention::pieces(view.of)),
      x_parts(view.of, view.in.q.type, ranges_of(view.of)), x_shares(std::move(shares)),
      x_homes(homes) {
}

std::size_t attention_job::lane_of(std::size_t shard) const {
  const auto& of = x_view.of;
  const auto slices = std::size_t{x_parts.ranges()} * of.batch * of.kv_heads;
  if (slices < x_homes.lanes || x_pieces == 0) // some would have nothing to do
    return unit::any_lane;
  const auto piece = rows_of_piece(of, shard % x_pieces);
  const auto slice
    = (shard / x_pieces * of.batch + piece.sequence) * of.kv_heads + piece.kv_head;
  return x_homes.place(slice, shard);
}

std::uint64_t attention_bytes(const attention_view& what, const shared_table* shares) {
  const attention_parts parts(what.of, what.in.q.type, ranges_of(what.of));
  return parts.bytes(shares != nullptr)
         + (shares != nullptr ? bring_over_bytes(*shares, what.of, what.in) : 0);
}

std::uint64_t attention_job::bytes() const {
  return attention_bytes(x_view, x_shares.get());
}

void attention_job::begin(budget::lease lease) {
  start(parts_round, [&] {
    x_lease = std::make_shared<budget::lease>(std::move(lease));
    const auto fine = x_parts.allocate(x_shares.get());
    if (!fine)
      x_brought = tl::unexpected(fine.error());
    else if (x_shares && x_parts.rows() != 0)
      x_brought = bring_over(*x_shares, x_view.of, x_view.in);
  });
}

expected<unit_tally> attention_job::run(unsigned round, std::size_t shard,
                                        const lane_floor& floor) {
  floor.step();
  if (x_parts.rows() == 0)
    return unit_tally{};
  if (round == merging_round) {
    x_parts.merge(shard, x_parts.ranges() * x_pieces);
    return unit_tally{};
  }
  const auto done = run_part(shard);
  floor.step();
  return note_part(shard, done);
}

expected<unit_tally> attention_job::note_part(std::size_t shard, const status& done) const {
  if (!done)
    return tl::unexpected(name_attention_problem(done, name()));
  const auto& of = x_view.of;
  const auto parts = x_parts.ranges() * x_pieces;
  const auto bytes = side_bytes(of, x_view.in.k) + side_bytes(of, x_view.in.v);
  const auto values = 2 * of.batch * of.kv_heads * of.keys * of.head_size;
  return unit_tally{shard == 0 ? 1u : 0u, bytes / parts, values / parts, "attention"};
}

// The merge is a pass over the parts; it is done here, where they are.
expected<remote_order> attention_job::ask(unsigned round, std::size_t shard, std::uint64_t) {
  if (!x_brought)
    return fail(x_brought.error().code, name() + ": " + x_brought.error().text);
  if (round == merging_round || x_parts.rows() == 0 || x_view.of.keys == 0) {
    if (round == merging_round)
      x_parts.merge(shard, x_parts.ranges() * x_pieces);
    else if (x_parts.rows() != 0)
      x_parts.see_nothing();
    return remote_order{};
  }
  const auto range = shard / x_pieces, ranges = std::size_t{x_parts.ranges()};
  const auto all = x_view.of.keys;
  const auto first = all * range / ranges, end = all * (range + 1) / ranges;
  attend_step step;
  step.of = x_view.of;
  step.of.keys_after += all - end;
  step.of.keys = end - first;
  step.q = x_brought->q;
  step.k = x_brought->k;
  step.v = x_brought->v;
  step.k.skipped += first;
  step.v.skipped += first;
  step.bias = x_brought->bias;
  step.bias.offset += first * sizeof(float);
  step.first = shard % x_pieces;
  x_parts.address(range, step);
  remote_order asked{{}, x_brought->regions};
  asked.regions.push_back(x_parts.region());
  asked.order.attends.push_back(std::move(step));
  return asked;
}

std::optional<expected<unit_tally>> attention_job::settle(unsigned, std::size_t shard,
                                                          const tensor_receipt& got) {
  const auto why = problem_of(got, 1);
  return why && got.seen.empty() ? std::optional(note_part(shard, *why)) : std::nullopt;
}

// Piece shard % pieces of range shard / pieces.
status attention_job::run_part(std::size_t shard) {
  thread_local kernels::scratch memory;
  auto [of, in] = x_view;
  const auto range = shard / x_pieces, ranges = std::size_t{x_parts.ranges()};
  const auto first = of.keys * range / ranges, end = of.keys * (range + 1) / ranges;
  of.keys_after += of.keys - end;
  of.keys = end - first;
  in.k.skipped += first;
  in.v.skipped += first;
  if (in.bias.data != nullptr)
    in.bias.data += first;
  return kernels::attention::attend(of, in, x_parts.range(range), shard % x_pieces, 1, memory);
}

bool attention_job::round_done(unsigned round) {
  return round == parts_round && x_parts.ranges() > 1;
}

void attention_job::deliver(std::optional<error> why) {
  x_brought = brought_attention{};
  if (!why)
    return x_answer->set(x_parts.take(), std::move(x_lease));
  x_parts.clear(); // the job may stay in line for long; what it held must not
  x_lease.reset();
  x_answer->set(tl::unexpected(std::move(*why)));
}

} // namespace viva::actors
