// Devices: what CUDA's errors mean, what is said where there is no device, and, where there is one,
// every method on it. A device's tests skip, and say why, where there is none.

#include "kernels/cuda_path.hpp"
#include "kernels/metrics.hpp"
#include "tests/kernels/data.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/support/catch.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>
#include <stdexcept>

namespace viva::kernels::testing {

namespace {

/// A worker on the first device; null where there is none, which is said once.
device_worker* worker() {
  static const auto made = [] {
    const auto census = find_devices();
    if (census.devices.empty()) {
      WARN("skipped: " << census.why);
      return std::unique_ptr<device_worker>();
    }
    auto opened = device_worker::open(census.devices.front().number);
    if (!opened)
      throw std::runtime_error(opened.error().text);
    return std::move(*opened);
  }();
  return made.get();
}

constexpr dtype dtypes[] = {dtype::f32, dtype::f16, dtype::bf16};

/// Bytes, values and sums of a device, from memory that is one byte off, are the reference's.
void require_reference(device_worker& on, const recipe& with, const tensor& source) {
  const auto numbers = numbers_of(with, source.view());
  planes wanted(with, source.rows, source.cols), made(with, source.rows, source.cols);
  REQUIRE(with.row->encode_reference(with, source.view(), numbers, wanted.pointers()) == status{});
  std::vector<std::byte> off(source.bytes.size() + 1);
  std::ranges::copy(source.bytes, off.begin() + 1);
  const matrix in{off.data() + 1, source.type, source.rows, source.cols};
  std::vector<float> values(source.rows * source.cols), decoded(values.size());
  const auto from = std::as_const(wanted).pointers();
  REQUIRE(with.row->decode_reference(with, source.rows, source.cols, numbers, from, values.data())
          == status{});
  error_sums sums, measured;
  measure_reference(source.view(), values.data(), sums);
  REQUIRE(on.encode(with, in, numbers, made.pointers(), &measured) == status{});
  REQUIRE(made == wanted);
  REQUIRE(measured.encode() == sums.encode());
  REQUIRE(on.decode(with, source.rows, source.cols, numbers, from, decoded.data()) == status{});
  REQUIRE((values.empty() || std::memcmp(values.data(), decoded.data(), 4 * values.size()) == 0));
}

} // namespace

TEST_CASE("device: errors after which a process must end are told from those it may outlive",
          "[device]") {
  const std::set<int> sticky = {226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911};
  const std::set<int> lost = {214, 220};
  const std::set<int> absent = {34, 35, 46, 100, 101, 802, 803, 804};
  for (int error = 0; error < 1100; ++error) {
    INFO("CUDA error " << error);
    const auto wanted = error == 0               ? device_answer::done
                        : error == 2             ? device_answer::out_of_memory
                        : sticky.contains(error) ? device_answer::sticky
                        : lost.contains(error)   ? device_answer::lost
                        : absent.contains(error) ? device_answer::absent
                                                 : device_answer::refused;
    REQUIRE(answer_of(error) == wanted);
  }
  CHECK(errc_of(device_answer::done) == errc::ok);
  CHECK(errc_of(device_answer::out_of_memory) == errc::over_budget);
  CHECK(errc_of(device_answer::absent) == errc::unsupported);
  for (const auto spoiled : {device_answer::sticky, device_answer::lost, device_answer::refused})
    CHECK(retryable(errc_of(spoiled)));
}

TEST_CASE("device: where there is none, everything says so and nothing breaks", "[device]") {
  const auto census = find_devices();
  REQUIRE(census.devices.empty() != census.why.empty());
  if (!census.devices.empty())
    return;
  const auto opened = device_worker::open(0);
  REQUIRE_FALSE(opened);
  CHECK(opened.error().code == errc::unsupported);
  CHECK(opened.error().text.find(census.why) != std::string::npos);
  CHECK(device_bytes(device_bytes::place::device, 16).data() == nullptr);
  CHECK(use_device(0) != 0);
  device_stream stream;
  CHECK(stream.scratch(16) == nullptr);
  CHECK(stream.finish() != 0);
}

TEST_CASE("device: every method has the reference's bytes, values and errors", "[cuda]") {
  auto* const on = worker();
  if (on == nullptr)
    return;
  for (const auto& row : methods())
    for (const auto& text : spellings(row))
      for (const auto type : dtypes)
        for (const auto& set : data_sets()) {
          const auto with = recipe_of(text, type);
          const auto cols = cols_of(row, 768);
          INFO(text << ", " << set.name << ", " << name_of(type));
          const auto values = values_of(set, 3 * cols, type, 99);
          require_reference(*on, with, make_tensor(values, type, 3, cols));
        }
}

TEST_CASE("device: every method has the reference's bytes at odd sizes and in several runs",
          "[cuda]") {
  auto* const on = worker();
  if (on == nullptr)
    return;
  const auto small = device_worker::open(0, std::size_t{1} << 20); // some 26,000 values a run
  REQUIRE(small);
  for (const auto& row : methods())
    for (const auto type : dtypes) {
      const auto with = recipe_of(row.name, type);
      const auto step = static_cast<std::size_t>(with.cols_multiple());
      for (std::size_t cols = 0; cols <= 300; cols += step)
        for (const std::size_t rows : {1u, 5u, 66u}) {
          INFO(row.name << ", " << name_of(type) << ", " << rows << " x " << cols);
          const auto values = values_of(data_sets().front(), rows * cols, type, 7);
          require_reference(*on, with, make_tensor(values, type, rows, cols));
        }
      const auto cols = cols_of(row, 4096);
      INFO(row.name << ", " << name_of(type) << ", in runs");
      const auto values = values_of(data_sets().front(), 300 * cols, type, 7);
      require_reference(**small, with, make_tensor(values, type, 300, cols));
    }
}

TEST_CASE("device: every method finds NaN wherever it stands, and says the first", "[cuda]") {
  auto* const on = worker();
  if (on == nullptr)
    return;
  for (const auto& row : methods()) {
    const auto with = recipe_of(row.name, dtype::bf16);
    const std::size_t cols = cols_of(row, 69), rows = 3;
    for (std::size_t at = 0; at < rows * cols; ++at) {
      auto values = values_of(data_sets().front(), rows * cols, dtype::bf16, 5);
      values[at] = std::numeric_limits<float>::quiet_NaN();
      values.back() = -std::numeric_limits<float>::infinity();
      const auto source = make_tensor(values, dtype::bf16, rows, cols);
      planes out(with, rows, cols);
      INFO(row.name << " at " << at);
      REQUIRE(on->encode(with, source.view(), {}, out.pointers(), nullptr)
              == status{errc::not_finite, at});
    }
  }
}

TEST_CASE("device: every survey is the host's", "[cuda]") {
  auto* const on = worker();
  if (on == nullptr)
    return;
  for (const auto& row : methods())
    if (row.survey_run != nullptr)
      for (const auto& set : data_sets()) {
        const auto with = recipe_of(row.name, dtype::f32);
        const auto cols = cols_of(row, 4096);
        const auto values = values_of(set, 70 * cols, dtype::f32, 3);
        const auto source = make_tensor(values, dtype::f32, 70, cols);
        survey wanted, made;
        REQUIRE(row.survey_run(with, source.view(), wanted) == status{});
        REQUIRE(on->survey(with, source.view(), made) == status{});
        INFO(row.name << ", " << set.name);
        REQUIRE(made.max == wanted.max);
        REQUIRE(made.count == wanted.count);
        REQUIRE(made.sum == wanted.sum);
      }
}

} // namespace viva::kernels::testing
