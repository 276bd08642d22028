#include "actors/pipeline/resident_attention.hpp"

#include "actors/pipeline/attention_job.hpp"

#include <algorithm>
#include <utility>

namespace viva::actors {
namespace {

using kernels::attention::encoded_tensor;
using kernels::attention::shape;
using kernels::attention::source_rows;

/// How a shard's planes lie; `bytes` may be null where only that is asked.
encoded_tensor planes_of(const resident_tensor& tensor, std::size_t shard, const shape& of,
                         const std::byte* bytes) {
  auto made = encoded_tensor::packed(tensor.how, 1, 1, tensor.rows[shard].count, tensor.shape.cols);
  made.head_columns = of.kv_heads > 1 ? of.head_size : 0;
  if (made.head_columns != 0)
    made.rows = {0, 0, 1};
  made.numbers = tensor.numbers;
  if (bytes != nullptr)
    for (std::size_t p = 0; p < tensor.how.row->shape(tensor.how, made.cols).planes_count; ++p)
      made.planes[p] = bytes + tensor.plane_offset(p, shard);
  return made;
}

/// A shard as it lies on the shelf. `planes` is filled where it is encoded.
source_rows rows_of(const resident_tensor& tensor, std::size_t shard, const shape& of,
                    const std::vector<std::byte>& bytes, encoded_tensor& planes) {
  source_rows rows;
  if (tensor.is_encoded()) {
    planes = planes_of(tensor, shard, of, bytes.data());
    rows.encoded = &planes;
    return rows;
  }
  const auto size = kernels::bytes_of(tensor.shape.type);
  return {bytes.data(), tensor.shape.type, {0, of.head_size * size, tensor.shape.cols * size}};
}

/// A shard as it lies in a region.
attend_side side_of(const resident_tensor& tensor, std::size_t shard, const shape& of,
                    const shared_table::place& at) {
  attend_side side;
  side.region = at.region->id;
  side.offset = at.offset;
  side.type = tensor.shape.type;
  if (!tensor.is_encoded()) {
    const auto size = kernels::bytes_of(side.type);
    side.bytes = {0, of.head_size * size, tensor.shape.cols * size};
    return side;
  }
  const auto whole = planes_of(tensor, shard, of, nullptr);
  side.method = tensor.how.name();
  side.numbers = whole.numbers;
  side.rows_count = whole.rows_count;
  side.cols = whole.cols;
  side.head_columns = whole.head_columns;
  side.rows = whole.rows;
  return side;
}

bool same_cut(const row_run& a, const row_run& b) {
  return a.first == b.first && a.count == b.count;
}

} // namespace

expected<void> check_resident_attention(const resident_attention& what, const resident_tensor& k,
                                        const resident_tensor& v, const std::string& name) {
  attention_view plain{what.of, {what.q, {}, {}, what.bias}};
  plain.of.keys = 0; // theirs are not in memory
  if (auto fine = check_attention(plain, name); !fine)
    return fine;
  const auto& of = what.of;
  for (const auto* each : {&k, &v}) {
    if (of.batch != 1 || each->shape.rows != of.keys
        || each->shape.cols != of.kv_heads * of.head_size)
      return fail(errc::bad_shape,
                  name + ": " + each->name + " has " + std::to_string(each->shape.rows)
                    + " rows of " + std::to_string(each->shape.cols) + " values; "
                    + std::to_string(of.keys) + " keys for " + std::to_string(of.kv_heads)
                    + " kv heads of " + std::to_string(of.head_size)
                    + " columns and one sequence need rows of as many values side by side");
    if (each->is_encoded())
      if (auto fine = check_encoded(of, planes_of(*each, 0, of, nullptr)); !fine)
        return fail(fine.error().code, name + ": " + each->name + ": " + fine.error().text);
  }
  if (!std::ranges::equal(k.rows, v.rows, same_cut))
    return fail(errc::unsupported, name + ": " + k.name + " and " + v.name
                                     + " are cut differently; put both in one type");
  return {};
}

resident_attention_job::resident_attention_job(order what, const resident_attention& view,
                                               const resident_place& place,
                                               std::shared_ptr<const resident_tensor> k,
                                               std::shared_ptr<const resident_tensor> v,
                                               answer_to<attended> to)
    : shard_rounds(std::move(what), k->rows.size(), place.work), x_view(view),
      x_lanes(place.lanes), x_shares(place.shares), x_store(place.store), x_k(std::move(k)),
      x_v(std::move(v)), x_answer(std::move(to)),
      x_parts(view.of, view.q.type, static_cast<std::uint32_t>(x_k->rows.size())),
      x_requests(x_k->rows.size()) {
}

std::uint64_t resident_attention_job::bytes() const {
  return x_parts.bytes(x_shares != nullptr)
         + (x_shares ? bring_over_bytes(*x_shares, x_view.of, {x_view.q, {}, {}, x_view.bias}) : 0);
}

void resident_attention_job::begin(budget::lease lease) {
  start(parts_round, [&] {
    x_lease = std::make_shared<budget::lease>(std::move(lease));
    const auto fine = x_parts.allocate(x_shares.get());
    if (!fine)
      x_brought = tl::unexpected(fine.error());
    else if (x_shares && x_parts.rows() != 0)
      x_brought = actors::bring_over(*x_shares, x_view.of, {x_view.q, {}, {}, x_view.bias});
  });
}

std::size_t resident_attention_job::lane_of(std::size_t shard) const {
  return shard % x_lanes;
}

expected<unit_tally> resident_attention_job::run(unsigned round, std::size_t shard,
                                                 const lane_floor& floor) {
  floor.step();
  if (round == merging_round) {
    x_parts.merge(shard, x_parts.ranges());
    return unit_tally{};
  }
  const auto done = run_part(shard, floor);
  x_k->leave_shelf(shard, floor);
  x_v->leave_shelf(shard, floor);
  return done;
}

expected<unit_tally> resident_attention_job::run_part(std::size_t shard, const lane_floor& floor) {
  thread_local kernels::scratch memory;
  const auto k = x_k->need(shard, floor), v = x_v->need(shard, floor);
  for (const auto* each : {&k, &v})
    if (!*each)
      return tl::unexpected(each->error());
  encoded_tensor k_planes, v_planes;
  auto of = x_view.of;
  const auto [first, count] = x_k->rows[shard];
  of.keys_after += of.keys - first - count;
  of.keys = count;
  kernels::attention::inputs in{x_view.q, rows_of(*x_k, shard, of, **k, k_planes),
                                rows_of(*x_v, shard, of, **v, v_planes), x_view.bias};
  if (in.bias.data != nullptr)
    in.bias.data += first;
  const auto to = x_parts.range(shard);
  for (std::size_t piece = 0; piece < kernels::attention::pieces(of); ++piece) {
    if (const auto done = kernels::attention::attend(of, in, to, piece, 1, memory); !done)
      return note_part(shard, done);
    floor.step();
  }
  return note_part(shard, {});
}

expected<unit_tally> resident_attention_job::note_part(std::size_t shard,
                                                       const status& done) const {
  if (!done)
    return tl::unexpected(name_attention_problem(done, name()));
  const auto values = 2 * x_k->rows[shard].count * x_k->shape.cols;
  return unit_tally{shard == 0 ? 1u : 0u, x_k->shard_bytes(shard) + x_v->shard_bytes(shard), values,
                    "attention"};
}

expected<remote_order> resident_attention_job::ask(unsigned round, std::size_t shard,
                                                   std::uint64_t life) {
  if (!x_brought)
    return fail(x_brought.error().code, name() + ": " + x_brought.error().text);
  if (round == merging_round || x_parts.rows() == 0) {
    if (round == merging_round)
      x_parts.merge(shard, x_parts.ranges());
    return remote_order{};
  }
  auto& asked = x_requests[shard];
  if (auto fine = asked.begin(life); !fine)
    return without_words(std::move(fine.error()));
  attend_step step;
  step.of = x_view.of;
  const auto [first, count] = x_k->rows[shard];
  step.of.keys_after += step.of.keys - first - count;
  step.of.keys = count;
  step.q = x_brought->q;
  for (auto [side, tensor] : {std::pair{&step.k, x_k.get()}, std::pair{&step.v, x_v.get()}}) {
    const auto at = tensor->need(shard, asked);
    if (!at)
      return tl::unexpected(at.error());
    *side = side_of(*tensor, shard, step.of, *at);
  }
  if (!asked.reads.empty())
    return remote_order{};
  step.bias = x_brought->bias;
  step.bias.offset += first * sizeof(float);
  step.count = kernels::attention::pieces(step.of);
  x_parts.address(shard, step);
  for (const auto& each : x_brought->regions)
    asked.what.regions.push_back(each);
  asked.what.regions.push_back(x_parts.region());
  asked.what.order.attends.push_back(std::move(step));
  return asked.what;
}

std::optional<expected<unit_tally>>
resident_attention_job::settle(unsigned, std::size_t shard, const tensor_receipt& got) {
  const auto& asked = x_requests[shard].what.order;
  const auto why = problem_of(got, asked.steps_count());
  if (!why || !got.seen.empty())
    return {};
  if (!got.problems.empty() && got.problems.front().slot < asked.steps.size())
    return fail(why->code, name() + ": a shard of k or v was refused when it was made again");
  if (*why)
    x_requests[shard].done();
  x_requests[shard] = {}; // with the memory that was made for this once
  return note_part(shard, *why);
}

void resident_attention_job::read(std::size_t shard, std::function<bool()> wanted,
                                  std::function<void()> then) {
  x_store->read(x_requests[shard], std::move(wanted), std::move(then));
}

bool resident_attention_job::round_done(unsigned round) {
  return round == parts_round && x_parts.ranges() > 1;
}

void resident_attention_job::deliver(std::optional<error> why) {
  x_brought = brought_attention{};
  std::vector<resident_request>().swap(x_requests);
  if (!why)
    return x_answer->set(x_parts.take(), std::move(x_lease));
  x_parts.clear(); // the job may stay in line for long; what it held must not
  x_lease.reset();
  x_answer->set(tl::unexpected(std::move(*why)));
}

} // namespace viva::actors
