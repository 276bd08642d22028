// Attention of queries that travel to resident keys and values: the truth, and the same bytes for
// any number of lanes and whatever dies, plain and quantized.

#include "tests/actors/tensors.hpp"
#include "tests/kernels/attention_problem.hpp"
#include "tests/support/sanitized.hpp"

#include <span>

using namespace viva;
using kernels::attention::shape;
using kernels::testing::problem;
using tests::sized;

namespace {

/// Few queries, and many; five shards of keys each.
const std::vector<shape>& shapes() {
  static const std::vector<shape> all{
    {.heads = 4, .kv_heads = 2, .queries = 2, .keys = 17000, .head_size = 64, .causal = true},
    {.heads = 2,
     .kv_heads = 2,
     .queries = sized(30, 8),
     .keys = 17000,
     .head_size = 64,
     .window = 12000}};
  return all;
}

/// k and v of a problem, held by the lanes of a pipeline of its own.
struct house {
  const problem& made;
  pipeline pipe;
  tensor_id k, v;

  house(const problem& of, std::uint32_t lanes, const char* method,
        isolation kind = isolation::thread)
      : made(of), pipe{testing::lanes_of(lanes, kind)}, k(put("k", of.k, method)),
        v(put("v", of.v, method)) {}

  tensor_view view(const std::vector<std::byte>& side) const {
    return {side.data() + 1, made.of.keys, made.of.kv_heads * made.of.head_size, 0, made.type};
  }
  tensor_id put(const std::string& name, const std::vector<std::byte>& side, const char* method) {
    const auto id = pipe.put(name, view(side)).get();
    REQUIRE(id.has_value());
    if (method == nullptr)
      return *id;
    const auto encoded = pipe.quantize(*id, method).get();
    REQUIRE(encoded.has_value());
    pipe.drop(*id);
    return *encoded;
  }
  resident_attention asked() const {
    const auto in = made.in();
    return {made.of, in.q, k, v, in.bias};
  }
  attended attend() {
    auto got = pipe.attention(asked()).get();
    REQUIRE(got.has_value());
    return std::move(*got);
  }
};

kernels::testing::result unpacked(const shape& of, const attended& from) {
  kernels::testing::result got(of, from.type);
  kernels::load_f32(from.out.data(), from.type, got.out.size(), got.out.data());
  got.lse = from.lse;
  return got;
}

/// One side as the method decodes it, (keys, kv_heads * head_size).
std::vector<float> decoded(const std::vector<std::byte>& side, const problem& made,
                           const char* method) {
  const auto cols = made.of.kv_heads * made.of.head_size;
  const auto done = testing::by_reference(method, {side.data() + 1, made.type, made.of.keys, cols});
  std::vector<float> values(made.of.keys * cols);
  REQUIRE(done.decode(values));
  return values;
}

/// The truth over what the method has of k and v, or over themselves.
kernels::testing::exact truth_of(const problem& made, const char* method) {
  if (method == nullptr)
    return made.truth();
  const auto& of = made.of;
  const auto k = decoded(made.k, made, method), v = decoded(made.v, made, method);
  const auto rows = [&](const std::vector<float>& values) {
    const auto head = of.head_size * sizeof(float);
    return kernels::attention::source_rows{reinterpret_cast<const std::byte*>(values.data()),
                                           kernels::dtype::f32,
                                           {0, head, of.kv_heads * head}};
  };
  auto in = made.in();
  in.k = rows(k);
  in.v = rows(v);
  const auto count = kernels::testing::result::rows(of);
  kernels::testing::exact got{std::vector<double>(count * of.head_size),
                              std::vector<double>(count)};
  REQUIRE(kernels::attention::attend_reference(of, in, got.out.data(), got.lse.data()));
  return got;
}

} // namespace

TEST_CASE("resident attention: queries that travel to the shards get the truth") {
  const auto kind = GENERATE(isolation::thread, isolation::process);
  const char* const methods[] = {nullptr, "nf4", "q8_0", "int8", "fp8"};
  for (const auto& of : shapes())
    for (const char* method : std::span(methods).first(sized(5, 2))) {
      INFO((method == nullptr ? "plain" : method));
      const problem made(of, kernels::dtype::f32, of.window != 0, 5);
      house lanes(made, 2, method, kind);
      const auto got = lanes.attend();
      CHECK(got.key_ranges == 5);
      kernels::testing::require_close(of, unpacked(of, got), truth_of(made, method), 2e-6);
    }
}

TEST_CASE("resident attention: the bytes are those of one lane, for any lanes and whatever dies") {
  const auto kind = GENERATE(isolation::thread, isolation::process);
  const std::uint32_t rounds = sized(6, 3);
  for (const auto& of : shapes())
    for (const char* method : {static_cast<const char*>(nullptr), "q8_0"}) {
      const problem made(of, kernels::dtype::f32, false, 6);
      house alone(made, 1, method);
      const auto whole = alone.attend();
      house lanes(made, 3, method, kind);
      const auto require_same = [&](const attended& got) {
        REQUIRE(got.out == whole.out);
        REQUIRE(got.lse == whole.lse);
      };
      require_same(lanes.attend());
      for (std::uint32_t round = 0; round < rounds; ++round) {
        lanes.pipe.kill_lane(round); // dies with its shards, which are made anew
        auto future = lanes.pipe.attention(lanes.asked());
        if (round % 2 == 1)
          lanes.pipe.kill_lane(round + 1);
        auto got = future.get();
        REQUIRE(got.has_value());
        require_same(*got);
      }
      CHECK(lanes.pipe.metrics().restarts >= rounds);
      CHECK(lanes.pipe.metrics().queue->tickets_lost >= rounds);
    }
}

// Shards are of 512 Ki values: these shapes have 128 a key, so a shard is 4096 keys.
TEST_CASE("resident attention: of every type it has the bytes of the merged parts, whatever dies "
          "in the midst") {
  const auto kind = GENERATE(isolation::thread, isolation::process);
  for (const auto type : {kernels::dtype::f32, kernels::dtype::bf16, kernels::dtype::f16})
    for (const auto& of : shapes()) {
      INFO(kernels::name_of(type) << " " << kernels::testing::describe(of));
      const problem made(of, type, of.window != 0, 8);
      auto merged = made.merged({0, 4096, 8192, 12288, 16384, 17000}, type);
      const auto* from = merged.to(of).out;
      const std::vector<std::byte> out(from,
                                       from + merged.out.size() * kernels::bytes_of(type));
      house lanes(made, 2, nullptr, kind);
      const auto require_same = [&](const attended& got) {
        REQUIRE(got.type == type);
        REQUIRE(got.out == out);
        REQUIRE(got.lse == merged.lse);
      };
      const auto whole = lanes.attend();
      require_same(whole);
      kernels::testing::require_promise(of, unpacked(of, whole), made.truth(), type);
      for (std::uint32_t round = 0; round < sized(3, 1); ++round) {
        auto future = lanes.pipe.attention(lanes.asked());
        lanes.pipe.kill_lane(round); // in the midst of its next range, which is lost with k and v
        auto got = future.get();
        REQUIRE(got.has_value());
        require_same(*got);
        require_same(lanes.attend()); // the one who was told to die has, at the latest, now
      }
      CHECK(lanes.pipe.metrics().restarts >= sized(3, 1));
    }
}

TEST_CASE("resident attention: quantized from 16 bits it is the truth, of any lanes the same "
          "bytes") {
  const auto kind = GENERATE(isolation::thread, isolation::process);
  const auto& of = shapes()[0];
  for (const auto type : {kernels::dtype::bf16, kernels::dtype::f16})
    for (const char* method : {"q8_0", "nf4"}) {
      INFO(kernels::name_of(type) << " " << method);
      const problem made(of, type, false, 9);
      house alone(made, 1, method);
      const auto whole = alone.attend();
      kernels::testing::require_promise(of, unpacked(of, whole), truth_of(made, method), type);
      house lanes(made, 3, method, kind);
      for (std::uint32_t round = 0; round < 2; ++round) {
        lanes.pipe.kill_lane(round);
        auto got = lanes.pipe.attention(lanes.asked()).get();
        REQUIRE(got.has_value());
        REQUIRE(got->out == whole.out);
        REQUIRE(got->lse == whole.lse);
      }
    }
}

TEST_CASE("resident attention: what does not fit is refused by name") {
  const auto kind = GENERATE(isolation::thread, isolation::process);
  const problem made({.heads = 2, .kv_heads = 2, .queries = 3, .keys = 300, .head_size = 32},
                     kernels::dtype::f32, false, 1);
  house lanes(made, 2, nullptr, kind);
  const auto error_of = [&](const resident_attention& asked) {
    const auto got = lanes.pipe.attention(asked, {.name = "x"}).get();
    REQUIRE_FALSE(got.has_value());
    INFO(got.error().text);
    CHECK(got.error().text.starts_with("x: "));
    return got.error().code;
  };
  auto asked = lanes.asked();
  asked.v = {77};
  CHECK(error_of(asked) == errc::bad_option);
  asked = lanes.asked();
  asked.of.keys = 299;
  CHECK(error_of(asked) == errc::bad_shape);
  asked = lanes.asked();
  asked.of.head_size = 64;
  CHECK(error_of(asked) == errc::bad_shape);
  asked = lanes.asked();
  asked.q.data = nullptr;
  CHECK(error_of(asked) == errc::bad_shape);
  asked = lanes.asked();
  const auto blocks = lanes.pipe.quantize(lanes.k, "nf4").get();
  REQUIRE(blocks.has_value());
  asked.k = *blocks; // blocks of 64 and heads of 32
  CHECK(error_of(asked) == errc::bad_shape);

  lanes.pipe.release_source(lanes.k);
  lanes.pipe.kill_lane(0);
  const auto lost = lanes.pipe.attention(lanes.asked(), {.name = "x"}).get();
  REQUIRE_FALSE(lost.has_value());
  CHECK(lost.error().code == errc::fault);
  CHECK(lost.error().text.find("put it again") != std::string::npos);
}
