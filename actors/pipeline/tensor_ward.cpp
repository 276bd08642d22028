#include "actors/pipeline/tensor_ward.hpp"

#include "actors/pipeline/attend_step.hpp"
#include "actors/pipeline/encode_view.hpp"
#include "actors/pipeline/resident.hpp"
#include "actors/pipeline/shared_bytes.hpp"
#include "actors/resident_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace viva::actors {
namespace {

constexpr std::uint32_t tensors_a_step = 256; // a sign of progress costs as much as a tensor's edge
constexpr auto weigh_every = std::chrono::seconds{1};

/// Where `bytes` from `offset` on lie within `size`.
bool within(std::uint64_t offset, std::uint64_t bytes, std::uint64_t size) {
  return offset <= size && bytes <= size - offset;
}

/// Bytes of a run, or nothing where its numbers make no sense.
bool source_bytes(const tensor_run& run, dtype type, std::uint64_t& bytes) {
  std::uint64_t line = 0, lines = 0, all = 0;
  const bool fine = run.cols != 0 && run.rows != 0 && run.count != 0
                    && !__builtin_mul_overflow(run.cols, kernels::bytes_of(type), &line)
                    && (run.row_bytes == 0 || run.row_bytes >= line)
                    && !__builtin_mul_overflow(run.rows, std::uint64_t{run.count}, &lines)
                    && !__builtin_mul_overflow(lines, std::max(run.row_bytes, line), &all);
  bytes = run.source_bytes(type);
  return fine;
}

/// A process is killed from outside, and has no shelf: what it holds is shared memory.
lane_floor unharmed() {
  static const std::atomic<bool> never{false};
  static lane_shelf none;
  return {never, none};
}

} // namespace

/// Mapped twice: for reading, and for writing results, unless its file is only to be read.
class tensor_ward::region {
public:
  /// `bytes` of the file are the region's; all of it is mapped, `all`.
  region(int file, std::uint64_t all, std::uint64_t bytes, bool holes)
      : x_read{{file, all, PROT_READ}, {}}, x_size(bytes),
        x_writable((::fcntl(file, F_GETFL) & O_ACCMODE) == O_RDWR),
        x_holes(holes || !x_writable) { // a file of the owner's may be larger than memory
    if (x_writable)
      x_write.map = file_map(file, all, PROT_READ | PROT_WRITE);
    for (auto* each : {&x_read, &x_write}) {
      if (each->map.data() == nullptr && (each == &x_read || x_writable))
        throw std::runtime_error(std::string("a region of tensors is not mapped: ")
                                 + std::strerror(errno));
      each->there.resize(all / large_page_bytes + 1);
    }
  }
  std::uint64_t size() const noexcept {
    return x_size;
  }
  const std::byte* read(std::uint64_t offset, std::uint64_t bytes) {
    return at(x_read, MADV_POPULATE_READ, offset, bytes);
  }
  /// Null where the file is only to be read.
  std::byte* write(std::uint64_t offset, std::uint64_t bytes) {
    return x_writable ? at(x_write, MADV_POPULATE_WRITE, offset, bytes) : nullptr;
  }

private:
  struct side {
    file_map map;
    std::vector<bool> there; // by large page
  };

  // Small pages come in by the 2 MiB: one at a time, as they are touched, costs four times as much.
  std::byte* at(side& in, int advice, std::uint64_t offset, std::uint64_t bytes) const {
    const auto last = (offset + bytes + large_page_bytes - 1) / large_page_bytes;
    for (auto page = offset / large_page_bytes; !x_holes && page < last; ++page)
      if (!in.there[page]) {
        const auto first = page * large_page_bytes;
        ::madvise(in.map.data() + first, std::min(large_page_bytes, in.map.size() - first), advice);
        in.there[page] = true; // or as they are touched, on a kernel that does not know how
      }
    return in.map.data() + offset;
  }

  side x_read, x_write;
  const std::uint64_t x_size;
  const bool x_writable;
  const bool x_holes; // nothing is brought in before it is touched
};

tensor_ward::tensor_ward(owner me) : x_me(std::move(me)) {
}
tensor_ward::~tensor_ward() = default;

bool tensor_ward::take(const supervision::frame& what) {
  if (what.kind == lane_kind::share)
    return share(what);
  if (what.kind == lane_kind::tensors)
    return run(what);
  const auto note = decode_region(what.payload);
  return note && x_regions.erase(note->id) != 0;
}

bool tensor_ward::share(const supervision::frame& what) {
  const auto note = decode_region(what.payload);
  struct stat info {};
  if (!note || !what.attached || ::fstat(what.attached->get(), &info) != 0)
    return false;
  // A lent file that was cut short is the fault of orders that read it, and of nobody before.
  if (static_cast<std::uint64_t>(info.st_size) < note->bytes) {
    x_regions[note->id] = nullptr;
    return true;
  }
  // The maps are all that is needed of it: no descriptor is kept, however many regions there are.
  x_regions[note->id] = std::make_unique<region>(
    what.attached->get(), static_cast<std::uint64_t>(info.st_size), note->bytes,
    note->holes);
  return true;
}

tensor_ward::region* tensor_ward::find(std::uint32_t id) {
  const auto at = x_regions.find(id);
  if (at == x_regions.end())
    return nullptr;
  if (at->second == nullptr)
    throw std::runtime_error("a lent file is shorter than it was when it was lent");
  return at->second.get();
}

const kernels::recipe* tensor_ward::method_of(const std::string& method, dtype type) {
  const auto key = std::pair{method, type};
  if (const auto known = x_methods.find(key); known != x_methods.end())
    return &known->second;
  const auto how = kernels::parse_recipe(method, type);
  return how ? &x_methods.emplace(key, *how).first->second : nullptr;
}

bool tensor_ward::run(const supervision::frame& what) {
  const auto bytes = unpack(what);
  const auto orders = bytes ? decode_tensors(*bytes) : std::nullopt;
  if (!orders)
    return false;
  std::vector<tensor_receipt> all(orders->size());
  for (std::size_t i = 0; i < orders->size(); ++i)
    if (!run((*orders)[i], all[i]))
      return false;
  auto receipts = pack(lane_kind::encoded, encode(all));
  if (!receipts)
    throw std::runtime_error(receipts.error().text);
  if (!x_me.send(std::move(*receipts)))
    throw std::runtime_error("what came of an order could not be sent");
  return true;
}

bool tensor_ward::run(const tensor_order& order, tensor_receipt& done) {
  const bool of_steps = order.steps_count() != 0;
  const auto* how = of_steps ? nullptr : method_of(order.method, order.type);
  if (how == nullptr && !of_steps)
    return false;
  x_me.mark(order.number);
  done.number = order.number;
  const auto began = std::chrono::steady_clock::now();
  for (std::uint32_t i = 0; i < order.steps.size() && done.problems.empty(); ++i)
    if (!run(order.steps[i], i, done))
      return false;
  if (done.problems.empty() && !attend(order, done))
    return false;
  if (how != nullptr && how->row->survey_run != nullptr)
    done.numbers.resize(order.slots);
  done.errors.resize(order.measure ? order.slots : 0);
  for (const auto& each : order.runs)
    if (!run(order, each, done))
      return false;
  const auto ended = std::chrono::steady_clock::now();
  if (ended - x_weighed > weigh_every) {
    x_peak_rss = peak_rss_bytes();
    x_weighed = ended;
  }
  done.took_ns = static_cast<std::uint64_t>((ended - began).count());
  done.peak_rss = x_peak_rss;
  x_me.mark(0);
  return true;
}

bool tensor_ward::run(const shard_step& step, std::uint32_t index, tensor_receipt& done) {
  const auto* how = method_of(step.method, step.type);
  auto* const from = find(step.from);
  const tensor_run whole{step.from, step.offset, step.rows, step.cols, step.row_bytes, 0, 0, 1};
  std::uint64_t bytes = 0;
  if (how == nullptr || from == nullptr || !source_bytes(whole, step.type, bytes)
      || !within(step.offset, bytes, from->size())
      || !within(step.first, step.count, step.rows) || step.count == 0)
    return false;
  // Only the rows of this step are brought in.
  const auto apart = step.row_bytes != 0 ? step.row_bytes
                                         : step.cols * kernels::bytes_of(step.type);
  const auto mine = whole.source_bytes(step.type) - (step.rows - step.count) * apart;
  const auto* data = from->read(step.offset + step.first * apart, mine);
  const tensor_view view{data - step.first * apart, step.rows, step.cols, step.row_bytes,
                         step.type};
  const row_run rows{step.first, step.count};
  status fine;
  if (step.what == shard_step::kind::survey) {
    if (how->row->survey_run == nullptr)
      return false;
    kernels::survey seen;
    fine = survey_rows(*how, view, rows, seen, unharmed());
    done.seen.push_back(seen);
  } else {
    auto* const to = find(step.to);
    const auto map = map_planes(*how, step.rows, step.cols);
    if (to == nullptr || !within(step.to_offset, map.total, to->size()))
      return false;
    auto* out = to->write(step.to_offset, map.total);
    if (out == nullptr)
      return false;
    fine = encode_rows(*how, view, rows, step.numbers, map, out, unharmed());
  }
  if (!fine)
    done.problems.push_back({index, fine.code, fine.position});
  x_me.step();
  return true;
}

bool tensor_ward::attend(const tensor_order& order, tensor_receipt& done) {
  const auto part = [this](std::uint32_t id, std::uint64_t offset, std::uint64_t bytes) -> region* {
    auto* const at = find(id);
    return at != nullptr && within(offset, bytes, at->size()) ? at : nullptr;
  };
  const step_memory memory{
    [&](std::uint32_t id, std::uint64_t offset, std::uint64_t bytes) -> const std::byte* {
      auto* const at = part(id, offset, bytes);
      return at != nullptr ? at->read(offset, bytes) : nullptr;
    },
    [&](std::uint32_t id, std::uint64_t offset, std::uint64_t bytes) -> std::byte* {
      auto* const at = part(id, offset, bytes);
      return at != nullptr ? at->write(offset, bytes) : nullptr;
    }};
  for (std::size_t i = 0; i < order.attends.size() && done.problems.empty(); ++i) {
    const auto fine = actors::run(order.attends[i], memory);
    if (!fine)
      return false;
    if (!*fine)
      done.problems.push_back(
        {static_cast<std::uint32_t>(order.steps.size() + i), fine->code, fine->position});
    x_me.step();
  }
  return true;
}

bool tensor_ward::run(const tensor_order& order, const tensor_run& run, tensor_receipt& done) {
  const auto& how = *method_of(order.method, order.type);
  auto *const from = find(run.region), *const to = find(order.out);
  std::uint64_t bytes = 0;
  if (from == nullptr || to == nullptr || !source_bytes(run, order.type, bytes)
      || !within(run.offset, bytes, from->size()))
    return false;
  const auto map = map_planes(how, run.rows, run.cols);
  if (run.count > to->size() / map.total || !within(run.to, run.count * map.total, to->size()))
    return false;
  tensor_view view{from->read(run.offset, bytes), run.rows, run.cols, run.row_bytes,
                   order.type};
  auto* out = to->write(run.to, run.count * map.total);
  if (out == nullptr)
    return false;
  kernels::tensor_numbers own;
  for (std::uint32_t i = 0; i < run.count; ++i) {
    auto& numbers = done.numbers.empty() ? own : done.numbers[run.slot + i];
    const auto fine = encode_whole(how, view, map, out, numbers, unharmed());
    if (fine && order.measure)
      done.errors[run.slot + i] = measure_whole(how, view, map, out, numbers);
    if (!fine) [[unlikely]]
      done.problems.push_back({run.slot + i, fine.code, fine.position});
    view.data += view.rows * view.step();
    out += map.total;
    if (i % tensors_a_step == tensors_a_step - 1)
      x_me.step();
  }
  return true;
}

} // namespace viva::actors
