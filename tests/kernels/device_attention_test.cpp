// Attention as a device computes it, by loops and, where there is one, on a device: within the
// bound of the truth in double, whatever the shape, the type and the mask.

#include "kernels/cuda_attention.hpp"
#include "tests/kernels/attention_problem.hpp"
#include "tests/kernels/looped_attention.hpp"
#include "tests/support/sanitized.hpp"

#include <functional>
#include <limits>
#include <type_traits>

namespace viva::kernels::testing {

using attention::shape;

namespace {

constexpr dtype dtypes[] = {dtype::f32, dtype::f16, dtype::bf16};

void read_back(result& got) {
  if (got.type != dtype::f32)
    load_f32_reference(got.bytes.data() + 1, got.type, got.out.size(), got.out.data());
}

result by_loops(const problem& made) {
  result got(made.of, made.type);
  const attention::device_problem what{made.of, made.in(), got.to(made.of),
                                       attention::scale_of(made.of) * 1.4426950408889634f};
  if (made.type == dtype::f32)
    attend_looped<dtype::f32>(what);
  else if (made.type == dtype::f16)
    attend_looped<dtype::f16>(what);
  else
    attend_looped<dtype::bf16>(what);
  read_back(got);
  return got;
}

/// What lies on the host, on the device for as long as this lives.
class on_device {
public:
  explicit on_device(device_stream& stream) : x_stream(stream) {}

  template <class T>
  T* copy_of(const T* data, std::size_t bytes) {
    auto& to = x_all.emplace_back(device_bytes::place::device, bytes);
    REQUIRE(to.data() != nullptr);
    x_stream.copy_in(data, to.data(), bytes);
    return reinterpret_cast<T*>(to.data());
  }

private:
  device_stream& x_stream;
  std::vector<device_bytes> x_all;
};

result by_device(const problem& made) {
  device_stream stream;
  on_device there(stream);
  result got(made.of, made.type);
  auto in = made.in();
  for (auto [rows, bytes] : {std::pair{&in.q, &made.q}, {&in.k, &made.k}, {&in.v, &made.v}})
    rows->data = there.copy_of(bytes->data(), bytes->size()) + 1;
  if (!made.bias.empty())
    in.bias.data = there.copy_of(made.bias.data(), made.bias.size() * sizeof(float));
  auto to = got.to(made.of);
  const std::size_t bytes = got.out.size() * bytes_of(made.type);
  auto* const host = to.out;
  to.out = there.copy_of(host, bytes);
  to.lse = there.copy_of(got.lse.data(), got.lse.size() * sizeof(float));
  REQUIRE(attention::queue_attend(stream, made.of, in, to) == status{});
  stream.copy_out(to.out, host, bytes);
  stream.copy_out(to.lse, got.lse.data(), got.lse.size() * sizeof(float));
  REQUIRE(stream.finish() == 0);
  read_back(got);
  return got;
}

using way = std::function<result(const problem&)>;

void require_truth(const shape& of, dtype type, bool biased, const way& attend) {
  const problem made(of, type, biased, 7);
  INFO(describe(of) << " " << name_of(type) << (biased ? " biased" : ""));
  require_close(of, attend(made), made.truth(), row_bound(type));
}

void require_truth(const way& attend) {
  for (const auto& of : attention_shapes())
    for (const auto type : dtypes)
      for (const bool biased : {false, true})
        if (biased || !tests::sanitized) // a bias reads more, and each takes a second then
          require_truth(of, type, biased, attend);
}

void require_ramps(const way& attend) {
  for (const float slope : {0.5f, -0.5f, 3.0f})
    for (const auto type : dtypes) {
      problem made({.queries = 70, .keys = 150, .head_size = 64}, type, false, 3);
      made.ramp(slope);
      INFO("slope " << slope << " " << name_of(type));
      // Scores of hundreds have the error of their own last bits (attention.hpp).
      require_close(made.of, attend(made), made.truth(), row_bound(type) + 450 * 0x1p-22);
    }
}

void require_hidden_keys_move_nothing(const way& attend) {
  for (const auto type : dtypes) {
    problem made({.queries = 70, .keys = 90, .head_size = 40, .causal = true}, type, false, 5);
    const auto before = attend(made);
    made.move_key(57); // query 37 is the first that sees it
    const auto after = attend(made);
    for (std::size_t i = 0; i < 70; ++i) {
      INFO(name_of(type) << " query " << i);
      const bool same = std::equal(before.row(made.of, i), before.row(made.of, i + 1),
                                   after.row(made.of, i));
      REQUIRE(same == (i < 37));
    }
  }
}

bool is_nan_row(const result& got, const shape& of, std::size_t row) {
  return std::all_of(got.row(of, row), got.row(of, row + 1),
                     [](float x) { return std::isnan(x); });
}

void require_nan_reaches_its_rows(const way& attend) {
  for (const auto type : dtypes) {
    problem made({.queries = 40, .keys = 40, .head_size = 32, .causal = true}, type, false, 5);
    made.put(made.q, 3 * 32 + 1, std::numeric_limits<float>::quiet_NaN());
    made.put(made.k, 20 * 32 + 5, std::numeric_limits<float>::quiet_NaN());
    const auto got = attend(made);
    for (std::size_t i = 0; i < 40; ++i) {
      INFO(name_of(type) << " query " << i);
      REQUIRE(is_nan_row(got, made.of, i) == (i == 3 || i >= 20));
    }
  }
}

void require_parts_of_keys(const way& attend) {
  for (const auto type : dtypes) {
    const problem made({.heads = 2, .queries = 33, .keys = 120, .head_size = 64, .causal = true,
                        .window = 50},
                       type, true, 11);
    auto part = made;
    part.of.keys = 64; // those in front: some of the rows see none of them
    part.of.keys_after = 56;
    part.k.resize(part.of.keys * 2 * 64 * bytes_of(type) + 1);
    part.v.resize(part.k.size());
    for (std::size_t row = 0; row < 66; ++row)
      std::copy_n(made.bias.begin() + static_cast<std::ptrdiff_t>(row * 120), 64,
                  part.bias.begin() + static_cast<std::ptrdiff_t>(row * 64));
    require_close(part.of, attend(part), part.truth(), row_bound(type));
  }
}

bool no_device() {
  const auto census = find_devices();
  if (census.devices.empty())
    WARN("skipped: " << census.why);
  return census.devices.empty() || use_device(census.devices.front().number) != 0;
}

} // namespace

TEST_CASE("device attention: by loops it is within the bound of double, whatever the shape",
          "[attention][device]") {
  require_truth(by_loops);
}

TEST_CASE("device attention: by loops, masks, NaN, parts and scores that climb are the truth's",
          "[attention][device]") {
  require_ramps(by_loops);
  require_hidden_keys_move_nothing(by_loops);
  require_nan_reaches_its_rows(by_loops);
  require_parts_of_keys(by_loops);
}

TEST_CASE("device attention: a device is within the bound of double", "[cuda]") {
  if (no_device())
    return;
  require_truth(by_device);
  require_ramps(by_device);
  require_hidden_keys_move_nothing(by_device);
  require_nan_reaches_its_rows(by_device);
  require_parts_of_keys(by_device);
}

TEST_CASE("device attention: what it cannot take is refused before anything is queued",
          "[device]") {
  device_stream stream;
  attention::inputs in;
  const shape fine{.queries = 4, .keys = 4, .head_size = 64};
  CHECK(attention::queue_attend(stream, {.queries = 4, .keys = 4, .head_size = 36}, in, {}).code
        == (devices_built() ? errc::bad_shape : errc::unsupported));
  in.k.type = dtype::bf16;
  CHECK(attention::queue_attend(stream, fine, in, {}).code == errc::unsupported);
  in.k.type = dtype::f32;
  const attention::encoded_tensor encoded{};
  in.v.encoded = &encoded;
  CHECK(attention::queue_attend(stream, fine, in, {}).code == errc::unsupported);
}

} // namespace viva::kernels::testing
