// A device at work on memory of the host: two slots, each with a stream and memory on both sides,
// take runs of rows in turn (slot_runs.hpp).

#include "kernels/cuda_path.hpp"
#include "kernels/device_sums.hpp"
#include "kernels/slot_runs.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace viva::kernels {

namespace {

// Where memory does not say less. A shard of usual size is four runs or more, so that copies of one
// go beside the kernels of another.
constexpr std::size_t run_values = std::size_t{1} << 20;
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

  /// Waits for a slot. What its run met, at a position of the whole; else take(slot, run).
  template <class Take>
  status collect(slot& from, row_run run, std::size_t cols, const Take& take) {
    if (const auto broken = wait_for(from); !broken)
      return broken;
    device_report found;
    std::memcpy(&found, from.pinned_report.data(), sizeof found);
    if (found.not_finite != device_report::none)
      return {errc::not_finite, run.first * cols + found.not_finite};
    if (found.malformed != 0)
      return {errc::malformed};
    take(from, run);
    return {};
  }
  status wait_for(slot& which) {
    const int answer = which.stream.finish();
    error = answer != 0 ? answer : error;
    return {errc_of(answer_of(answer))};
  }

  /// put(slot, run) queues the rows of a slot; take(slot, run) has them back.
  template <class Put, class Take>
  status in_runs(std::size_t rows, std::size_t cols, std::size_t grain, const Put& put,
                 const Take& take) {
    return in_two_slots(
        rows, rows_of_run(grain, cols), grain,
        [&](std::size_t i, row_run run) -> status {
          return slots[i].has_reports() ? put(slots[i], run) : status{errc::over_budget};
        },
        [&](std::size_t i, row_run run) { return collect(slots[i], run, cols, take); },
        [&](std::size_t i) -> status {
          const auto besides = wait_for(slots[i]);
          for (auto& each : slots)
            each.shrink();
          return besides.code == errc::over_budget ? status{} : besides; // put said so
        });
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
    return wait_for(slots[0]);
  }

  status put_encode(slot& mine, row_run rows, const recipe& with, const matrix& in,
                    const geometry& shape, const tensor_numbers& numbers, bool measured);
};

status device_worker::state::put_encode(slot& mine, row_run rows, const recipe& with,
                                        const matrix& in, const geometry& shape,
                                        const tensor_numbers& numbers, bool measured) {
  const matrix run = in.slice(rows.first, rows.count);
  const plane_places places(shape, rows.first, rows.count, in.cols);
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

int device_worker::finish() {
  int first = 0;
  for (auto& each : x_state->slots)
    if (!x_state->wait_for(each) && first == 0)
      first = x_state->error;
  return first;
}

status device_worker::encode(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                             std::span<std::byte* const> out, error_sums* sums) {
  const auto shape = with.row->shape(with, in.cols);
  const auto grain = static_cast<std::size_t>(shape.rows_grain);
  if (in.values() == 0) // nothing to share; planes of the tensor are written all the same
    return with.row->encode_reference(with, in, numbers, out);
  if (sums != nullptr && !x_state->blank_sums(sizeof(device_sums)))
    return {errc::over_budget};
  const auto put = [&](slot& mine, row_run run) {
    return x_state->put_encode(mine, run, with, in, shape, numbers, sums != nullptr);
  };
  const auto take = [&](slot& mine, row_run run) {
    const plane_places places(shape, run.first, run.count, in.cols);
    for (std::size_t p = 0; p < places.count; ++p)
      if (places.bytes[p] != 0)
        std::memcpy(out[p] + shape.planes[p].offset(run.first, in.cols),
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
  const auto put = [&](slot& mine, row_run run) -> status {
    const plane_places places(shape, run.first, run.count, cols);
    const std::size_t out_bytes = run.count * cols * sizeof(float);
    if (!ensure(mine.planes, place::device, places.total)
        || !ensure(mine.pinned_in, place::pinned, places.total)
        || !ensure(mine.decoded, place::device, out_bytes)
        || !ensure(mine.pinned_out, place::pinned, out_bytes))
      return {errc::over_budget};
    for (std::size_t p = 0; p < places.count; ++p)
      mine.send(in[p] + shape.planes[p].offset(run.first, cols), places.bytes[p], mine.planes,
                places.at[p]);
    queue_blank(mine.queue());
    const auto from = places.in<const std::byte>(mine.planes.data());
    const auto done =
        queue_decode(mine.queue(), with, run.count, cols, numbers, {from.data(), places.count},
                     reinterpret_cast<float*>(mine.decoded.data()));
    mine.stream.copy_out(mine.decoded.data(), mine.pinned_out.data(), out_bytes);
    mine.fetch_report();
    return done;
  };
  const auto take = [&](slot& mine, row_run run) {
    std::memcpy(out + run.first * cols, mine.pinned_out.data(), run.count * cols * sizeof(float));
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
  const auto put = [&](slot& mine, row_run rows) -> status {
    const matrix run = in.slice(rows.first, rows.count);
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
  auto done = x_state->in_runs(in.rows, in.cols, grain, put, [](slot&, row_run) {});
  device_survey made;
  if (done)
    done = x_state->fetch_sums(made);
  if (done)
    add_survey(with, in.values(), made, found);
  return done;
}

} // namespace viva::kernels
