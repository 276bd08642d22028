// What bench/gpu.sh runs on a machine with a device, and nothing else: checks of every method at a
// size that fills it, what becomes of errors, and the speed table. Needs no file and no other
// library.
//
//   viva_device_bench check [--values N]   bytes, values and error sums of every method
//   viva_device_bench attention            rows of long sequences against double
//   viva_device_bench memory               out of memory is survived
//   viva_device_bench sticky               ends with 71 after a sticky error, as a lane must
//   viva_device_bench speed [--values N]   one JSON line for each method; a table on stderr

#include "kernels/convert.hpp"
#include "bench/device_bench.hpp"
#include "kernels/cuda_path.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace {

using namespace viva;
using namespace viva::bench;
using namespace viva::kernels;
using place = device_bytes::place;

constexpr std::size_t cols = 4096; // every method takes them
constexpr int sticky_exit = 71;    // supervision's exit_words::device_sticky

tensor_numbers numbers_of(const recipe& with, const matrix& in) {
  survey found;
  if (with.row->survey_run == nullptr || !with.row->survey_run(with, in, found))
    return {};
  return with.row->survey_finish(with, found);
}

/// Planes of an encoded tensor in memory of the host.
struct host_planes {
  std::vector<std::vector<std::byte>> each;
  std::vector<std::byte*> to;
  std::vector<const std::byte*> from;

  host_planes(const recipe& with, std::size_t rows) {
    const auto shape = with.row->shape(with, cols);
    for (const auto& plane : shape.all())
      each.emplace_back(static_cast<std::size_t>(plane.bytes(0, rows, cols)));
    for (auto& plane : each) {
      to.push_back(plane.data());
      from.push_back(plane.data());
    }
  }
};

/// Prints one verdict; false where it is bad.
bool judge(std::string_view method, const char* what, bool good) {
  std::printf("%-24.*s %-8s %s\n", static_cast<int>(method.size()), method.data(), what,
              good ? "equal" : "DIFFERS");
  return good;
}

bool check_method(device_worker& on, const method& row, const std::vector<std::byte>& source,
                  std::size_t rows) {
  const auto with = parse_recipe(row.name, dtype::bf16);
  if (!with)
    stop(with.error().text);
  const matrix in{source.data() + 1, dtype::bf16, rows, cols}; // misaligned on the host
  const auto numbers = numbers_of(*with, in);
  host_planes wanted(*with, rows), made(*with, rows);
  error_sums sums, measured;
  const auto done = encode_and_measure(*with, in, numbers, wanted.to, &sums);
  const auto here = on.encode(*with, in, numbers, made.to, &measured);
  if (!done || !here) {
    std::printf("%s: host %d, device %d, %s\n", row.name.data(), static_cast<int>(done.code),
                static_cast<int>(here.code), words_of(on.error()).c_str());
    return false;
  }
  bool good = judge(row.name, "encode", made.each == wanted.each);
  good = judge(row.name, "measure", sums.encode() == measured.encode()) && good;
  std::vector<float> values(rows * cols), decoded(rows * cols);
  const auto back = row.decode_simd(*with, rows, cols, numbers, wanted.from, values.data());
  const auto back_here = on.decode(*with, rows, cols, numbers, wanted.from, decoded.data());
  return judge(row.name, "decode",
               back && back_here
                   && std::memcmp(values.data(), decoded.data(), 4 * values.size()) == 0)
         && good;
}

int check(std::size_t values) {
  auto on = device_worker::open(0);
  if (!on)
    stop(on.error().text);
  const std::size_t rows = values / cols;
  auto source = values_of(rows * cols, dtype::bf16);
  source.insert(source.begin(), std::byte{0});
  bool good = true;
  for (const auto& row : methods())
    good = check_method(**on, row, source, rows) && good;
  std::printf("%s\n", good ? "every method is bit-equal" : "NOT every method is bit-equal");
  return good ? 0 : 1;
}

int memory() {
  if (use_device(0) != 0)
    stop(find_devices().why);
  const device_bytes most(place::device, std::size_t{1} << 46); // more than any has
  const device_bytes little(place::device, 1 << 20);
  device_stream stream;
  const bool good = most.data() == nullptr
                    && answer_of(most.error()) == device_answer::out_of_memory
                    && little.data() != nullptr && stream.finish() == 0;
  std::printf("out of memory: %s\n", good ? "survived" : "NOT survived");
  return good ? 0 : 1;
}

/// Reads what is no memory of the device, then says what a lane says.
int sticky() {
  if (use_device(0) != 0)
    stop(find_devices().why);
  device_stream stream;
  const device_bytes out(place::device, 1 << 20), reports(place::device, device_report_bytes());
  const auto with = parse_recipe("nf4", dtype::f32);
  const matrix in{reinterpret_cast<const std::byte*>(std::uintptr_t{1} << 46), dtype::f32, 16,
                  cols};
  std::byte* const planes[] = {out.data(), out.data() + (1 << 19)};
  const device_queue queue{stream, reinterpret_cast<device_report*>(reports.data())};
  (void)queue_encode(queue, *with, in, {}, planes);
  const int first = stream.finish();
  const int second = device_bytes(place::device, 16).error();
  std::printf("sticky: %s; the next call: %s\n", words_of(first).c_str(), words_of(second).c_str());
  const bool known = answer_of(first) == device_answer::sticky;
  return known && second != 0 ? sticky_exit : 1;
}

struct resident {
  static constexpr int turns = 3; ///< Sources in turn, so that none is in the cache.
  device_stream stream;
  std::array<device_bytes, turns> source;
  device_bytes planes, decoded, reports, spare;

  device_queue queue() {
    return {stream, reinterpret_cast<device_report*>(reports.data())};
  }
};

void speed_of(resident& on, const method& row, std::size_t rows) {
  const auto with = parse_recipe(row.name, dtype::bf16);
  if (!with)
    stop(with.error().text);
  const auto shape = row.shape(*with, cols);
  std::array<std::byte*, planes_max> to{};
  std::array<const std::byte*, planes_max> from{};
  std::size_t bytes = 0;
  for (std::size_t p = 0; p < shape.planes_count; ++p) {
    from[p] = to[p] = on.planes.data() + bytes;
    bytes += static_cast<std::size_t>(shape.planes[p].bytes(0, rows, cols) + 255) / 256 * 256;
  }
  const tensor_numbers numbers{{1.0f, 0.0f}};
  const std::size_t values = rows * cols;
  const double encode = milliseconds(on.stream, [&](int i) {
    const matrix in{on.source[static_cast<std::size_t>(i % resident::turns)].data(), dtype::bf16,
                    rows, cols};
    (void)queue_encode(on.queue(), *with, in, numbers, {to.data(), shape.planes_count});
  });
  const double decode = milliseconds(on.stream, [&](int) {
    (void)queue_decode(on.queue(), *with, rows, cols, numbers, {from.data(), shape.planes_count},
                       reinterpret_cast<float*>(on.decoded.data()));
  });
  const double copy = milliseconds(on.stream, [&](int) {
    on.stream.copy_within(on.source[0].data(), on.spare.data(), 2 * values);
  });
  const double copied = 4.0 * static_cast<double>(values) / copy / 1e6; // read and written
  const double encoded = static_cast<double>(2 * values + bytes) / encode / 1e6;
  const double back = static_cast<double>(4 * values + bytes) / decode / 1e6;
  std::printf("{\"method\":\"%s\",\"dtype\":\"bf16\",\"values\":%zu,\"encode_gb_per_s\":%.1f,"
              "\"decode_gb_per_s\":%.1f,\"copy_gb_per_s\":%.1f,\"encode_ratio\":%.3f,"
              "\"decode_ratio\":%.3f}\n",
              row.name.data(), values, encoded, back, copied, encoded / copied, back / copied);
  std::fprintf(stderr, "| `%s` | %.0f | %.2f | %.0f | %.2f | %.0f |\n", row.name.data(), encoded,
               encoded / copied, back, back / copied, copied);
}

/// Small tensors: int8 of rows of 512, each a tensor with its own scale.
void small_tensors(resident& on, std::size_t values) {
  constexpr std::size_t size = 512;
  const auto with = parse_recipe("int8", dtype::bf16);
  std::byte* const to[] = {on.planes.data(), on.planes.data() + values};
  const double spent = milliseconds(on.stream, [&](int i) {
    const matrix in{on.source[static_cast<std::size_t>(i % resident::turns)].data(), dtype::bf16,
                    values / size, size};
    (void)queue_encode(on.queue(), *with, in, {}, to);
  });
  std::printf("{\"small_tensors_of\":%zu,\"method\":\"int8\",\"tensors_per_s\":%.0f}\n", size,
              static_cast<double>(values / size) / spent * 1e3);
}

/// From and to plain memory of the host, beside pinned copies alone.
void end_to_end(resident& on, const std::vector<std::byte>& source, std::size_t rows) {
  auto worker = device_worker::open(0);
  const device_bytes pinned(place::pinned, source.size());
  if (!worker || pinned.data() == nullptr)
    stop("no memory for the host's side");
  const double copy = milliseconds(
      on.stream, [&](int) { on.stream.copy_in(pinned.data(), on.spare.data(), source.size()); });
  const auto with = parse_recipe("nf4", dtype::bf16);
  host_planes out(*with, rows);
  std::vector<double> all;
  for (int i = 0; i < 5; ++i) {
    const auto began = std::chrono::steady_clock::now();
    if (!(*worker)->encode(*with, {source.data(), dtype::bf16, rows, cols}, {}, out.to, nullptr))
      stop("nf4 from memory of the host failed");
    all.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began)
            .count());
  }
  std::ranges::nth_element(all, all.begin() + 2);
  const auto bytes = static_cast<double>(source.size());
  std::printf("{\"end_to_end\":\"nf4\",\"from\":\"pageable\",\"gb_per_s\":%.1f,"
              "\"pinned_copy_gb_per_s\":%.1f,\"ratio\":%.3f}\n",
              bytes / all[2] / 1e6, bytes / copy / 1e6, copy / all[2]);
}

int speed(std::size_t values) {
  const auto census = find_devices();
  if (census.devices.empty() || use_device(0) != 0)
    stop(census.why);
  const std::size_t rows = values / cols;
  const auto source = values_of(rows * cols, dtype::bf16);
  resident on;
  for (auto& each : on.source)
    each = device_bytes(place::device, source.size());
  on.spare = device_bytes(place::device, source.size());
  on.planes = device_bytes(place::device, source.size() * 3);
  on.decoded = device_bytes(place::device, source.size() * 2);
  on.reports = device_bytes(place::device, device_report_bytes());
  for (auto& each : on.source)
    on.stream.copy_in(source.data(), each.data(), source.size());
  if (on.stream.finish() != 0)
    stop("the device has no room for " + std::to_string(values) + " values");
  std::printf("{\"device\":\"%s\",\"capability\":\"%d.%d\"}\n", census.devices[0].name.c_str(),
              census.devices[0].major, census.devices[0].minor);
  std::fprintf(stderr,
               "%s\n\n| method | encode GB/s | x copy | decode GB/s | x copy | copy GB/s |\n"
               "|---|---|---|---|---|---|\n",
               census.devices[0].name.c_str());
  for (const auto& row : methods())
    speed_of(on, row, rows);
  small_tensors(on, rows * cols);
  end_to_end(on, source, rows);
  attention_speed(on.stream);
  return 0;
}

} // namespace

int main(int count, char** words) {
  const std::string what = count > 1 ? words[1] : "";
  std::size_t values = std::size_t{64} << 20;
  if (count > 3 && std::string(words[2]) == "--values")
    values = std::max<std::size_t>(std::strtoull(words[3], nullptr, 10), cols);
  if (find_devices().devices.empty())
    stop(find_devices().why);
  return what == "check"       ? check(values)
         : what == "attention" ? check_attention()
         : what == "memory"    ? memory()
         : what == "sticky"    ? sticky()
         : what == "speed"     ? speed(values)
                               : (stop("say check, attention, memory, sticky or speed"), 2);
}
