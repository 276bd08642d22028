#include "actors/pipeline/resident.hpp"

#include "actors/pipeline/tensor_job.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <utility>

namespace viva::actors {
namespace {

/// Rows that belong together under every method, so that shards can be encoded by any of them.
std::uint64_t grain_of_all(const tensor_view& view) {
  std::uint64_t grain = 1;
  for (const auto& method : kernels::methods())
    if (const auto how = kernels::parse_recipe(method.name, view.type))
      grain = std::lcm(grain, method.shape(*how, view.cols).rows_grain);
  return grain;
}

constexpr std::uint64_t plane_alignment = 64;

} // namespace

resident_tensor::resident_tensor(std::uint64_t id, std::string tensor_name, const tensor_view& view,
                                 file_source file, budget::lease lease)
    : number(id), name(std::move(tensor_name)), shape(view),
      rows(cut_rows(view.rows, view.cols, grain_of_all(view))), x_file(std::move(file)),
      x_lease(std::move(lease)) {
}

resident_tensor::resident_tensor(std::uint64_t id, std::shared_ptr<const resident_tensor> from,
                                 const kernels::recipe& with, budget::lease lease)
    : number(id), name(from->name), shape(from->shape), rows(from->rows), parent(std::move(from)),
      how(with), x_lease(std::move(lease)) {
}

std::uint64_t resident_tensor::plane_offset(std::size_t p, std::size_t shard) const {
  const auto planes = how.row->shape(how, shape.cols);
  std::uint64_t offset = 0;
  for (std::size_t i = 0; i < p; ++i) {
    const auto bytes = planes.planes[i].bytes(rows[shard].first, rows[shard].count, shape.cols);
    offset += (bytes + plane_alignment - 1) / plane_alignment * plane_alignment;
  }
  return offset;
}

std::uint64_t resident_tensor::shard_bytes(std::size_t shard) const {
  if (!is_encoded())
    return rows[shard].count * shape.cols * kernels::bytes_of(shape.type);
  return plane_offset(how.row->shape(how, shape.cols).planes_count, shard);
}

expected<const std::vector<std::byte>*> resident_tensor::need(std::size_t shard,
                                                              const lane_floor& floor) const {
  if (const auto* there = floor.shelf().find({number, shard}))
    return there;
  auto made = make(shard, floor);
  if (!made)
    return tl::unexpected(made.error());
  return &floor.shelf().put({number, shard}, std::move(*made));
}

expected<tensor_view> resident_tensor::need_rows(std::size_t shard, const lane_floor& floor) const {
  const auto bytes = need(shard, floor);
  if (!bytes)
    return tl::unexpected(bytes.error());
  return tensor_view{(*bytes)->data(), rows[shard].count, shape.cols, 0, shape.type};
}

expected<std::vector<std::byte>> resident_tensor::make(std::size_t shard,
                                                       const lane_floor& floor) const {
  std::vector<std::byte> bytes(shard_bytes(shard));
  if (!is_encoded())
    return read_source(shard, bytes.data()).map([&] { return std::move(bytes); });
  const auto values = parent->need_rows(shard, floor);
  if (!values)
    return tl::unexpected(values.error());
  std::array<std::byte*, kernels::planes_max> to{};
  const auto planes = how.row->shape(how, shape.cols).planes_count;
  for (std::size_t p = 0; p < planes; ++p)
    to[p] = bytes.data() + plane_offset(p, shard);
  floor.step();
  const kernels::matrix in{values->data, values->type, values->rows, values->cols};
  auto done = how.row->encode_simd(how, in, numbers, {to.data(), planes});
  parent->leave_shelf(shard, floor);
  if (done)
    return bytes;
  done.position += rows[shard].first * shape.cols;
  return tl::unexpected(name_problem(done, how, shape.cols, name));
}

// A job that began before the drop may run after all shelves were cleared, and a lane has no other
// occasion to clear its own.
void resident_tensor::leave_shelf(std::size_t shard, const lane_floor& floor) const {
  if (dropped)
    floor.shelf().drop({number, shard});
}

expected<void> resident_tensor::read_source(std::size_t shard, std::byte* to) const {
  const auto line = shape.cols * kernels::bytes_of(shape.type);
  const auto [first, count] = rows[shard];
  const auto these = [first = first, count = count] {
    return "rows " + std::to_string(first) + " to " + std::to_string(first + count);
  };
  const std::shared_lock lock{x_source_guard};
  if (x_source_gone)
    return fail(errc::fault, name + ": a lane died that held " + these()
                               + ", and its source was released; put it again");
  if (x_file) {
    if (auto fine = x_file.read(first * line, {to, count * line}); !fine)
      return fail(fine.error().code, name + ": " + these() + " cannot be read: "
                                       + fine.error().text);
    return {};
  }
  const auto apart = shape.row_bytes == 0 ? line : shape.row_bytes;
  for (std::uint64_t r = 0; r < count; ++r)
    std::memcpy(to + r * line, shape.data + (first + r) * apart, line);
  return {};
}

// -- in regions, for lane processes --------------------------------------------------------------

expected<void> resident_request::begin(std::uint64_t in_life) {
  const bool of_it = was_read && life == in_life;
  auto why = was_read ? std::exchange(problem, std::nullopt) : std::nullopt;
  auto there = std::exchange(reads, {});
  *this = {};
  life = in_life;
  if (why)
    return tl::unexpected(std::move(*why));
  if (of_it) // of another life somebody may have written there
    brought = std::move(there);
  return {};
}

// May throw nothing: who waits for it would wait for ever.
void resident_request::read() noexcept {
  try {
    for (const auto& each : reads)
      if (auto fine = each.of->bring(each, life); !fine) {
        problem = std::move(fine.error());
        break;
      }
  } catch (...) {
    problem = error{errc::over_budget, {}};
  }
  was_read = true;
}

void resident_request::done() const {
  for (const auto& [tensor, shard] : makes)
    tensor->note_held(shard, life);
}

plane_map resident_tensor::map_of(std::size_t shard) const {
  return map_planes(how, rows[shard].count, shape.cols);
}

std::uint64_t resident_tensor::slot_bytes(std::size_t shard) const {
  const auto bytes = is_encoded() ? map_of(shard).total : shard_bytes(shard);
  return (bytes + plane_alignment - 1) / plane_alignment * plane_alignment;
}

expected<void> resident_tensor::lie_in(std::shared_ptr<shared_table> shares) {
  x_shares = std::move(shares);
  auto made = x_shares->make((rows.size() - 1) * slot_bytes(0) + slot_bytes(rows.size() - 1));
  if (!made)
    return fail(made.error().code, name + ": " + made.error().text);
  (*made)->stays = true;
  struct leased {
    budget::lease held; // ends behind the region
    std::shared_ptr<shared_region> what;
  };
  const auto both = std::make_shared<leased>(leased{{}, std::move(*made)});
  both->held = std::move(x_lease);
  x_region = {both, both->what.get()};
  x_held.resize(rows.size());
  return {};
}

void resident_tensor::leave_region() const {
  std::shared_ptr<shared_region> gone; // ends outside the lock
  const std::lock_guard lock{x_region_guard};
  gone = std::move(x_region);
}

void resident_tensor::note_held(std::size_t shard, std::uint64_t life) const {
  const std::lock_guard lock{x_region_guard};
  x_held[shard] = life;
}

shard_step resident_tensor::step_on(const shared_table::place& at, std::size_t shard) const {
  shard_step step;
  step.type = shape.type;
  step.from = at.region->id;
  step.offset = at.offset;
  step.rows = step.count = rows[shard].count;
  step.cols = shape.cols;
  return step;
}

// On the thread that reads files; a request before this one may have wanted the same rows.
expected<void> resident_tensor::bring(const file_rows& what, std::uint64_t life) const {
  bool stays = false;
  {
    const std::lock_guard lock{x_region_guard};
    stays = what.to.region == x_region;
    if (stays && x_held[what.shard] == life)
      return {};
  }
  auto fine = read_source(what.shard, what.to.region->data() + what.to.offset);
  if (fine && stays)
    note_held(what.shard, life);
  return fine;
}

// Only its own lane is asked for a shard, one request at a time.
expected<shared_table::place> resident_tensor::need(std::size_t shard,
                                                    resident_request& asked) const {
  shared_table::place at;
  bool there = false;
  {
    const std::lock_guard lock{x_region_guard};
    at = {x_region, shard * slot_bytes(0)};
    there = x_region != nullptr && x_held[shard] == asked.life;
  }
  const bool stays = at.region != nullptr;
  for (const auto& each : asked.brought)
    if (!stays && each.of == this && each.shard == shard) {
      at = each.to;
      there = true;
    }
  if (!stays && !there) { // dropped: made for this once
    auto made = x_shares->make(slot_bytes(shard));
    if (!made)
      return fail(made.error().code, name + ": " + made.error().text);
    (*made)->stays = true;
    at = {std::move(*made), 0};
  }
  asked.what.regions.push_back(at.region);
  if (there)
    return at;
  if (x_file) {
    asked.reads.push_back({this, shard, at});
    return at;
  }
  if (!is_encoded()) { // no process sees its source: it is brought by this one
    if (auto fine = read_source(shard, at.region->data() + at.offset); !fine)
      return tl::unexpected(fine.error());
    if (stays)
      note_held(shard, asked.life);
    return at;
  }
  const auto values = parent->need(shard, asked);
  if (!values)
    return tl::unexpected(values.error());
  auto step = parent->step_on(*values, shard);
  step.method = how.name();
  step.numbers = numbers;
  step.to = at.region->id;
  step.to_offset = at.offset;
  asked.what.order.steps.push_back(std::move(step));
  if (stays)
    asked.makes.emplace_back(this, shard);
  return at;
}

void resident_tensor::release_source() const {
  const auto& from = source();
  const std::unique_lock lock{from.x_source_guard};
  from.x_source_gone = true;
}

} // namespace viva::actors
