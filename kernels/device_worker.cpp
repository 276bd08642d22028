// A device at work on memory of the host: two slots take runs of rows in turn, so that one copies
// while the other computes.

#include "kernels/cuda_path.hpp"
#include "kernels/device_sums.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace viva::kernels {

namespace {

constexpr std::size_t run_values = std::size_t{4} << 20; ///< Where memory does not say less.
constexpr std::size_t alignment = 256;                   ///< Of what shares one piece of memory.

std::size_t rounded_up(std::size_t bytes) noexcept {
  return (bytes + alignment - 1) / alignment * alignment;
}

using place = device_bytes::place;

/// At least `bytes` there, what was there lost. False where there are none.
bool ensure(device_bytes& memory, place where, std::size_t bytes) {
  if (memory.data() == nullptr || memory.bytes() < bytes) {
    memory = {}; // first, so that both never exist
    memory = device_bytes(where, bytes);
  }
  return memory.data() != nullptr;
}

/// One run under way: its memory on both sides and its stream.
struct slot {
  device_stream stream;
  device_bytes source, planes, decoded, reports; ///< The device's.
  device_bytes pinned_in, pinned_out, pinned_report;
  std::size_t first = 0; ///< Row.
  std::size_t count = 0;
  bool under_way = false;

  device_queue queue() noexcept {
    return {stream, reinterpret_cast<device_report*>(reports.data())};
  }
  bool has_reports() {
    return ensure(reports, place::device, device_report_bytes())
           && ensure(pinned_report, place::pinned, sizeof(device_report));
  }
  void send(const std::byte* from, std::size_t bytes, device_bytes& to, std::size_t at = 0) {
    if (bytes == 0)
      return;
    std::memcpy(pinned_in.data() + at, from, bytes);
    stream.copy_in(pinned_in.data() + at, to.data() + at, bytes);
  }
  void fetch_report() {
    stream.copy_out(reports.data(), pinned_report.data(), sizeof(device_report));
  }
  /// Gives all memory back, for a try with less.
  void shrink() {
    for (auto* each : {&source, &planes, &decoded, &pinned_in, &pinned_out})
      *each = {};
  }
};

/// Where the planes of a run lie in one piece of memory.
struct plane_places {
  std::array<std::size_t, planes_max> at{}, bytes{};
  std::size_t count = 0, total = 0;

  plane_places(const geometry& shape, std::size_t first, std::size_t rows, std::size_t cols)
      : count(shape.planes_count) {
    for (std::size_t p = 0; p < count; ++p) {
      at[p] = total;
      bytes[p] = static_cast<std::size_t>(shape.planes[p].bytes(first, rows, cols));
      total += rounded_up(bytes[p]);
    }
  }
  template <class Byte>
  std::array<Byte*, planes_max> in(std::byte* memory) const noexcept {
    std::array<Byte*, planes_max> all{};
    for (std::size_t p = 0; p < count; ++p)
      all[p] = memory + at[p];
    return all;
  }
};

} // namespace

struct device_worker::state {
  std::array<slot, 2> slots;
  device_bytes sums; ///< device_sums, or device_survey.
  std::size_t bytes_max = 0;
  int error = 0;

  /// Rows of a run: whole grains, at least one.
  std::size_t rows_of_run(std::size_t grain, std::size_t cols) const noexcept {
    const std::size_t most = bytes_max == 0 ? run_values : std::min(run_values, bytes_max / 40);
    return std::max(grain, most / std::max<std::size_t>(cols, 1) / grain * grain);
  }

  /// Waits for a slot. What its run met, at a position of the whole; else take(slot).
  template <class Take>
  status collect(slot& from, std::size_t cols, const Take& take) {
    if (!std::exchange(from.under_way, false))
      return {};
    if (const int answer = from.stream.finish(); answer != 0) {
      error = answer;
      return {errc_of(answer_of(answer))};
    }
    device_report found;
    std::memcpy(&found, from.pinned_report.data(), sizeof found);
    if (found.not_finite != device_report::none)
      return {errc::not_finite, from.first * cols + found.not_finite};
    if (found.malformed != 0)
      return {errc::malformed};
    take(from);
    return {};
  }

  /// put(slot) queues the rows of a slot; take(slot) has them back. Runs come back in their order,
  /// so the first refusal is the first one's. Where memory is short, runs become half as long.
  template <class Put, class Take>
  status in_runs(std::size_t rows, std::size_t cols, std::size_t grain, const Put& put,
                 const Take& take) {
    std::size_t step = rows_of_run(grain, cols), next = 0;
    status done;
    for (std::size_t first = 0; first < rows && done; next ^= 1) {
      auto& mine = slots[next];
      done = collect(mine, cols, take);
      if (!done)
        break;
      mine.first = first;
      mine.count = std::min(step, rows - first);
      const auto queued = mine.has_reports() ? put(mine) : status{errc::over_budget};
      if (queued) {
        mine.under_way = true;
        first += mine.count;
        continue;
      }
      done = collect(slots[next ^ 1], cols, take);
      const int answer = mine.stream.finish(); // says of memory what is known already
      if (done && (queued.code != errc::over_budget || step <= grain))
        done = queued;
      if (done && answer != 0 && answer_of(answer) != device_answer::out_of_memory) {
        error = answer;
        done = {errc_of(answer_of(answer))};
      }
      step = std::max(grain, step / 2 / grain * grain);
      for (auto& each : slots)
        each.shrink();
    }
    for (int i = 0; i < 2; ++i, next ^= 1) { // the older one first
      const auto last = collect(slots[next], cols, take);
      done = done ? last : done;
    }
    return done;
  }

  /// Zeroed memory of the device for sums that both slots add to; false where there is none.
  bool blank_sums(std::size_t bytes) {
    if (!ensure(sums, place::device, bytes))
      return false;
    slots[0].stream.clear(sums.data(), bytes);
    slots[1].stream.wait_for(slots[0].stream);
    return true;
  }
  template <class Sums>
  status fetch_sums(Sums& to) {
    slots[0].stream.copy_out(sums.data(), &to, sizeof to);
    if (const int answer = slots[0].stream.finish(); answer != 0) {
      error = answer;
      return {errc_of(answer_of(answer))};
    }
    return {};
  }

  status put_encode(slot& mine, const recipe& with, const matrix& in, const geometry& shape,
                    const tensor_numbers& numbers, bool measured);
};

status device_worker::state::put_encode(slot& mine, const recipe& with, const matrix& in,
                                        const geometry& shape, const tensor_numbers& numbers,
                                        bool measured) {
  const matrix run = in.slice(mine.first, mine.count);
  const plane_places places(shape, mine.first, mine.count, in.cols);
  const std::size_t source_bytes = run.values() * bytes_of(run.type);
  if (!ensure(mine.source, place::device, source_bytes)
      || !ensure(mine.pinned_in, place::pinned, source_bytes)
      || !ensure(mine.planes, place::device, places.total)
      || !ensure(mine.pinned_out, place::pinned, places.total)
      || (measured && !ensure(mine.decoded, place::device, run.values() * sizeof(float))))
    return {errc::over_budget};
  mine.send(run.data, source_bytes, mine.source);
  queue_blank(mine.queue());
  const matrix on_device{mine.source.data(), run.type, run.rows, run.cols};
  const auto to = places.in<std::byte>(mine.planes.data());
  auto done = queue_encode(mine.queue(), with, on_device, numbers, {to.data(), places.count});
  if (done && measured) {
    const auto from = places.in<const std::byte>(mine.planes.data());
    auto* const decoded = reinterpret_cast<float*>(mine.decoded.data());
    done = queue_decode(mine.queue(), with, run.rows, run.cols, numbers,
                        {from.data(), places.count}, decoded);
    if (done)
      done = queue_measure(mine.queue(), on_device, decoded,
                           reinterpret_cast<device_sums*>(sums.data()));
  }
  if (done) {
    mine.stream.copy_out(mine.planes.data(), mine.pinned_out.data(), places.total);
    mine.fetch_report();
  }
  return done;
}

device_worker::device_worker(std::unique_ptr<state> made) noexcept : x_state(std::move(made)) {}
device_worker::~device_worker() = default;

expected<std::unique_ptr<device_worker>> device_worker::open(int number, std::size_t bytes_max) {
  if (const int error = use_device(number); error != 0) {
    const auto census = find_devices();
    return fail(errc_of(answer_of(error)),
                "device " + std::to_string(number) + ": "
                    + (census.why.empty() ? words_of(error) : census.why));
  }
  auto made = std::make_unique<state>();
  made->bytes_max = bytes_max;
  for (auto& each : made->slots)
    if (const int error = each.stream.finish(); error != 0)
      return fail(errc_of(answer_of(error)),
                  "device " + std::to_string(number) + ": " + words_of(error));
  return std::unique_ptr<device_worker>(new device_worker(std::move(made)));
}

int device_worker::error() const noexcept {
  return x_state->error;
}

status device_worker::encode(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                             std::span<std::byte* const> out, error_sums* sums) {
  const auto shape = with.row->shape(with, in.cols);
  const auto grain = static_cast<std::size_t>(shape.rows_grain);
  if (in.values() == 0) // nothing to share; planes of the tensor are written all the same
    return with.row->encode_reference(with, in, numbers, out);
  if (sums != nullptr && !x_state->blank_sums(sizeof(device_sums)))
    return {errc::over_budget};
  const auto put = [&](slot& mine) {
    return x_state->put_encode(mine, with, in, shape, numbers, sums != nullptr);
  };
  const auto take = [&](slot& mine) {
    const plane_places places(shape, mine.first, mine.count, in.cols);
    for (std::size_t p = 0; p < places.count; ++p)
      if (places.bytes[p] != 0)
        std::memcpy(out[p] + shape.planes[p].offset(mine.first, in.cols),
                    mine.pinned_out.data() + places.at[p], places.bytes[p]);
  };
  auto done = x_state->in_runs(in.rows, in.cols, grain, put, take);
  if (done && sums != nullptr) {
    const auto made = std::make_unique<device_sums>();
    done = x_state->fetch_sums(*made);
    if (done)
      add_sums(*made, *sums);
  }
  return done;
}

status device_worker::decode(const recipe& with, std::size_t rows, std::size_t cols,
                             const tensor_numbers& numbers, std::span<const std::byte* const> in,
                             float* out) {
  const auto shape = with.row->shape(with, cols);
  if (rows * cols == 0)
    return with.row->decode_reference(with, rows, cols, numbers, in, out);
  const auto put = [&](slot& mine) -> status {
    const plane_places places(shape, mine.first, mine.count, cols);
    const std::size_t out_bytes = mine.count * cols * sizeof(float);
    if (!ensure(mine.planes, place::device, places.total)
        || !ensure(mine.pinned_in, place::pinned, places.total)
        || !ensure(mine.decoded, place::device, out_bytes)
        || !ensure(mine.pinned_out, place::pinned, out_bytes))
      return {errc::over_budget};
    for (std::size_t p = 0; p < places.count; ++p)
      mine.send(in[p] + shape.planes[p].offset(mine.first, cols), places.bytes[p], mine.planes,
                places.at[p]);
    queue_blank(mine.queue());
    const auto from = places.in<const std::byte>(mine.planes.data());
    const auto done =
        queue_decode(mine.queue(), with, mine.count, cols, numbers, {from.data(), places.count},
                     reinterpret_cast<float*>(mine.decoded.data()));
    mine.stream.copy_out(mine.decoded.data(), mine.pinned_out.data(), out_bytes);
    mine.fetch_report();
    return done;
  };
  const auto take = [&](slot& mine) {
    std::memcpy(out + mine.first * cols, mine.pinned_out.data(), mine.count * cols * sizeof(float));
  };
  return x_state->in_runs(rows, cols, static_cast<std::size_t>(shape.rows_grain), put, take);
}

status device_worker::survey(const recipe& with, const matrix& in, kernels::survey& found) {
  if (in.values() == 0)
    return {};
  const auto grain = static_cast<std::size_t>(with.row->shape(with, in.cols).rows_grain);
  if (!x_state->blank_sums(sizeof(device_survey)))
    return {errc::over_budget};
  auto* const sums = reinterpret_cast<device_survey*>(x_state->sums.data());
  const auto put = [&](slot& mine) -> status {
    const matrix run = in.slice(mine.first, mine.count);
    const std::size_t bytes = run.values() * bytes_of(run.type);
    if (!ensure(mine.source, place::device, bytes) || !ensure(mine.pinned_in, place::pinned, bytes))
      return {errc::over_budget};
    mine.send(run.data, bytes, mine.source);
    queue_blank(mine.queue());
    const auto done =
        queue_survey(mine.queue(), with, {mine.source.data(), run.type, run.rows, run.cols}, sums);
    mine.fetch_report();
    return done;
  };
  auto done = x_state->in_runs(in.rows, in.cols, grain, put, [](slot&) {});
  device_survey made;
  if (done)
    done = x_state->fetch_sums(made);
  if (done)
    add_survey(with, in.values(), made, found);
  return done;
}

} // namespace viva::kernels
