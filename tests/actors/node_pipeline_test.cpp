// Pipelines whose lanes are nodes': the bytes of this machine from one, two and three of them,
// whatever falls over.

#include "tests/actors/node_cluster.hpp"

#include "actors/node/certificates.hpp"
#include "tests/actors/tensors.hpp"
#include "tests/kernels/attention_problem.hpp"
#include "tests/support/sanitized.hpp"

#include <map>

using namespace viva;
using namespace viva::testing;
using viva::tests::cluster;
using viva::tests::sized;
using viva::tests::temporary_folder;

namespace {

constexpr const char* some_methods[] = {"int8", "int8-tensor", "nf4", "nf4-dq", "nvfp4",
                                        "sparse24"};

/// Of few queries on keys for several ranges, and of many queries.
std::vector<kernels::attention::shape> attention_shapes() {
  return {
    {.batch = 2, .heads = 4, .kv_heads = 2, .queries = 2, .keys = sized(20000, 9000),
     .head_size = 64},
    {.heads = 2, .kv_heads = 1, .queries = sized(100, 20), .keys = 9000, .head_size = 32,
     .causal = true, .window = 5000},
    {.heads = 3, .kv_heads = 3, .queries = sized(700, 150), .keys = sized(700, 150),
     .head_size = 64, .causal = true}};
}

/// Without printing what may be megabytes.
void require_same(const attended& a, const attended& b) {
  REQUIRE(a.out.size() == b.out.size());
  const auto differs = std::ranges::mismatch(a.out, b.out).in1 - a.out.begin();
  CHECK(differs == static_cast<std::ptrdiff_t>(a.out.size()));
  const bool same_lse = a.lse == b.lse;
  REQUIRE(same_lse);
}

attended attend(pipeline& pipe, const kernels::testing::problem& made) {
  auto got = pipe.attention({made.of, made.in()}).get();
  INFO((got ? std::string() : got.error().text));
  REQUIRE(got.has_value());
  return std::move(*got);
}

/// A resident tensor, encoded.
tensor_id put(pipeline& pipe, const kernels::testing::problem& of,
              const std::vector<std::byte>& side, const char* method) {
  const tensor_view view{side.data() + 1, of.of.keys, of.of.kv_heads * of.of.head_size, 0,
                         of.type};
  const auto id = pipe.put("kv", view).get();
  REQUIRE(id.has_value());
  const auto made = pipe.quantize(*id, method).get();
  REQUIRE(made.has_value());
  return *made;
}

} // namespace

TEST_CASE("pipeline over nodes: streams give the reference's bytes, from one, two and three") {
  const cluster on(3);
  const auto tensors = many_tensors(300, 512);
  for (std::size_t count = 1; count <= 3; ++count) {
    pipeline pipe{on.over(count)};
    CHECK(pipe.lanes() == 2 * count);
    for (const auto* words : some_methods) {
      INFO(words << " over " << count);
      std::size_t good = 0;
      for (auto&& [index, result] :
           pipe.stream(tensors, words, {.batch_tensors = 16, .measure = true})) {
        REQUIRE(result.has_value());
        REQUIRE(result->measured() != nullptr);
        good += same_bytes(*result, by_reference(words, tensors[index]).view()) ? 1 : 0;
      }
      CHECK(good == tensors.size());
    }
    const auto seen = pipe.metrics();
    CHECK(seen.bytes == std::size(some_methods) * tensors.size() * 512 * 4);
    CHECK(seen.restarts == 0);
  }
}

TEST_CASE("pipeline over nodes: large tensors, rows apart, and what a lane refuses") {
  const cluster on(2);
  pipeline pipe{on.over(2)};
  const std::uint64_t rows = 1500, cols = 1024;
  auto values = normal_values(rows * (cols + 8), 3);
  auto view = matrix_of(std::span(values).first(rows * cols), cols);
  for (const auto* words : some_methods) {
    INFO(words);
    const auto got = pipe.quantize(view, words).get();
    REQUIRE(got.has_value());
    CHECK(same_bytes(got->view(),
                     matrix_by_reference(words, std::span(values).first(rows * cols), cols)
                       .view()));
  }
  auto apart = view;
  apart.row_bytes = (cols + 8) * sizeof(float);
  tensor_values dense(rows * cols);
  for (std::uint64_t r = 0; r < rows; ++r)
    std::memcpy(dense.data() + r * cols, values.data() + r * (cols + 8), cols * sizeof(float));
  const auto got = pipe.quantize(apart, "nf4").get();
  REQUIRE(got.has_value());
  CHECK(same_bytes(got->view(), matrix_by_reference("nf4", dense, cols).view()));
  values[cols + 7] = std::numeric_limits<float>::quiet_NaN();
  const auto refused = pipe.quantize(view, "int8", {.name = "w"}).get();
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code == errc::not_finite);
  CHECK(refused.error().text.find("[1, 7]") != std::string::npos);
}

TEST_CASE("pipeline over nodes: memory that is filled anew is brought anew") {
  const cluster on(1);
  pipeline pipe{on.over(1)};
  const std::size_t count = 40, size = 128;
  auto memory = pipe.share(count * size * sizeof(float)).value();
  auto* const floats = reinterpret_cast<float*>(memory.bytes().data());
  for (std::uint32_t round = 0; round < 3; ++round) {
    const auto values = normal_values(count * size, round);
    std::memcpy(floats, values.data(), memory.bytes().size());
    std::vector<tensor_view> views;
    for (std::size_t i = 0; i < count; ++i)
      views.push_back(view_of(std::span<const float>(floats + i * size, size)));
    for (auto&& [index, result] : pipe.stream(views, nf4{})) {
      REQUIRE(result.has_value());
      const tensor_values mine(values.begin() + static_cast<std::ptrdiff_t>(index * size),
                               values.begin() + static_cast<std::ptrdiff_t>((index + 1) * size));
      CHECK(same_bytes(*result, by_reference("nf4", mine).view()));
    }
    const auto whole = pipe.quantize(matrix_of(std::span<const float>(floats, count * size), size),
                                     "int8-tensor").get();
    REQUIRE(whole.has_value());
    CHECK(same_bytes(whole->view(), matrix_by_reference("int8-tensor", values, size).view()));
  }
}

TEST_CASE("pipeline over nodes: one that is killed costs time alone, and is taken back") {
  cluster on(2);
  pipeline pipe{on.over(2)};
  const auto tensors = many_tensors(sized(4000, 1000), 512);
  const auto must = [&] {
    std::vector<encoded> all;
    for (const auto& each : tensors)
      all.push_back(by_reference("nf4", each));
    return all;
  }();
  const auto run = [&](std::size_t kill_at) {
    std::size_t seen = 0, good = 0;
    for (auto&& [index, result] : pipe.stream(tensors, nf4{}, {.batch_tensors = 8})) {
      REQUIRE(result.has_value());
      good += same_bytes(*result, must[index].view()) ? 1 : 0;
      if (++seen == kill_at)
        on.kill(1);
    }
    CHECK(good == tensors.size());
  };
  run(tensors.size() / 4);
  CHECK(viva::tests::comes_true([&] { return pipe.metrics().restarts >= 2; }));
  run(0); // by the other alone
  on.revive(1);
  const auto values = normal_values(1 << 20, 9);
  CHECK(viva::tests::comes_true([&] {
    CHECK(pipe.quantize(matrix_of(values, 1024), int8{}).get().has_value());
    return pipe.metrics().queue->lanes_up == 16; // four seats each
  }));
  run(0);
}

TEST_CASE("pipeline over nodes: what a killed node held is made again by its lineage") {
  cluster on(2);
  pipeline pipe{on.over(2)};
  const std::uint64_t rows = 3000, cols = 1024;
  const auto values = normal_values(rows * cols, 5);
  const auto id = pipe.put("w", matrix_of(values, cols)).get();
  REQUIRE(id.has_value());
  std::map<std::string, tensor_id> made;
  for (const auto* words : {"nf4-dq", "int8"}) {
    const auto got = pipe.quantize(*id, words).get();
    REQUIRE(got.has_value());
    made[words] = *got;
  }
  on.kill(0);
  for (const auto& [words, which] : made) {
    const auto again = pipe.quantize(*id, words).get(); // needs what node 0 had of the source
    REQUIRE(again.has_value());
    for (const auto& each : {which, *again}) {
      const auto got = pipe.fetch(each).get();
      REQUIRE(got.has_value());
      CHECK(same_bytes(got->view(), matrix_by_reference(words.c_str(), values, cols).view()));
    }
  }
  on.kill(1);
  on.revive(0);
  const auto got = pipe.fetch(made["int8"]).get();
  REQUIRE(got.has_value());
  CHECK(same_bytes(got->view(), matrix_by_reference("int8", values, cols).view()));
}

TEST_CASE("pipeline over nodes: attention has the bytes of this machine, whatever dies") {
  cluster on(3);
  for (const auto type : {kernels::dtype::f32, kernels::dtype::bf16})
    for (const auto& of : attention_shapes()) {
      const kernels::testing::problem made(of, type, of.window != 0, 31);
      pipeline here{{.lanes = 1}};
      const auto whole = attend(here, made);
      for (std::size_t count = 1; count <= 3; ++count) {
        pipeline pipe{on.over(count)};
        require_same(attend(pipe, made), whole);
        require_same(attend(pipe, made), whole);
      }
    }
  const kernels::testing::problem made(attention_shapes()[0], kernels::dtype::f32, false, 32);
  pipeline here{{.lanes = 1}};
  const auto whole = attend(here, made);
  pipeline pipe{on.over(3)};
  for (std::size_t round = 0; round < 2; ++round) {
    std::vector<future<expected<attended>>> under_way;
    for (int i = 0; i < 6; ++i)
      under_way.push_back(pipe.attention({made.of, made.in()}));
    on.kill(round);
    for (auto& each : under_way) {
      const auto got = each.get();
      REQUIRE(got.has_value());
      require_same(*got, whole);
    }
  }
  CHECK(pipe.metrics().restarts >= 4);
}

TEST_CASE("pipeline over nodes: queries travel to resident keys, plain and quantized") {
  cluster on(2);
  const kernels::testing::problem made({.heads = 4,
                                        .kv_heads = 2,
                                        .queries = 2,
                                        .keys = sized(17000, 9000),
                                        .head_size = 64,
                                        .causal = true},
                                       kernels::dtype::f32, true, 33);
  pipeline here{{.lanes = 1}}, pipe{on.over(2)};
  const auto ask = [&](pipeline& from, tensor_id k, tensor_id v) {
    const auto in = made.in();
    auto got = from.attention(resident_attention{made.of, in.q, k, v, in.bias}).get();
    REQUIRE(got.has_value());
    return std::move(*got);
  };
  for (const auto* method : {"q8_0", "int8"}) {
    const auto whole = ask(here, put(here, made, made.k, method), put(here, made, made.v, method));
    const auto k = put(pipe, made, made.k, method), v = put(pipe, made, made.v, method);
    require_same(ask(pipe, k, v), whole);
    require_same(ask(pipe, k, v), whole);
    on.kill(0);
    require_same(ask(pipe, k, v), whole);
    on.revive(0);
    CHECK(viva::tests::comes_true([&] { return pipe.metrics().queue->lanes_up == 16; }));
    require_same(ask(pipe, k, v), whole);
  }
}

TEST_CASE("pipeline over nodes: with certificates all is encrypted") {
  const temporary_folder keys;
  const auto ours = keys / "ours";
  REQUIRE(actors::node::make_certificates(ours, {.names = {"node", "guest"}}));
  const cluster on(2, {"--tls", (ours / "node").string()});
  auto options = on.over(2);
  options.tls = ours / "guest";
  pipeline pipe{options};
  const auto values = normal_values(1 << 20, 4);
  const auto got = pipe.quantize(matrix_of(values, 1024), "nf4").get();
  REQUIRE(got.has_value());
  CHECK(same_bytes(got->view(), matrix_by_reference("nf4", values, 1024).view()));
}
