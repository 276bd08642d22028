// Attention through lanes: the truth, the same bytes for any number of lanes and deaths, and files.

#include "actors/attention_file.hpp"
#include "actors/pipeline.hpp"
#include "actors/workplace.hpp"
#include "formats/safetensors.hpp"
#include "tests/actors/tensors.hpp"
#include "tests/kernels/attention_problem.hpp"
#include "tests/support/sanitized.hpp"
#include "tests/support/temporary_folder.hpp"

#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>

using namespace viva;
using kernels::attention::shape;
using kernels::testing::problem;
using tests::sized;

namespace {

/// One of few queries on keys for several ranges, one of many queries.
const std::vector<shape>& shapes() {
  static const std::vector<shape> all{
      {.batch = 2, .heads = 4, .kv_heads = 2, .queries = 1, .keys = 20000, .head_size = 64},
      {.heads = 2,
       .kv_heads = 1,
       .queries = sized(100, 20),
       .keys = 9000,
       .head_size = 32,
       .causal = true,
       .window = 5000},
      {.heads = 3,
       .kv_heads = 3,
       .queries = sized(700, 200),
       .keys = sized(700, 200),
       .head_size = 64,
       .causal = true}};
  return all;
}

kernels::testing::result unpacked(const shape& of, const attended& from) {
  kernels::testing::result got(of, from.type);
  kernels::load_f32(from.out.data(), from.type, got.out.size(), got.out.data());
  got.lse = from.lse;
  return got;
}

attended attend(pipeline& pipe, const problem& made) {
  auto got = pipe.attention({made.of, made.in()}).get();
  REQUIRE(got.has_value());
  return std::move(*got);
}

} // namespace

TEST_CASE("attention: lanes give the truth, in parts where keys are many") {
  pipeline pipe{testing::lanes_of(2, GENERATE(isolation::thread, isolation::process))};
  for (const auto& of : shapes()) {
    const problem made(of, kernels::dtype::f32, of.window != 0, 21);
    const auto got = attend(pipe, made);
    CHECK(got.key_ranges == (of.keys + 4095) / 4096);
    kernels::testing::require_close(of, unpacked(of, got), made.truth(), 2e-6);
  }
  const problem halves(shapes()[0], kernels::dtype::bf16, false, 22);
  kernels::testing::require_promise(halves.of, unpacked(halves.of, attend(pipe, halves)),
                                    halves.truth(), kernels::dtype::bf16);
}

TEST_CASE("attention: the bytes are those of one lane, for any lanes and whatever dies") {
  const auto kind = GENERATE(isolation::thread, isolation::process);
  for (const auto& of : shapes()) {
    const problem made(of, kernels::dtype::f32, false, 23);
    pipeline alone{{.lanes = 1}};
    const auto whole = attend(alone, made);
    const auto require_same = [&](const attended& got) {
      REQUIRE(got.out == whole.out);
      REQUIRE(got.lse == whole.lse);
    };
    pipeline pipe{testing::lanes_of(3, kind)};
    require_same(attend(pipe, made));
    const auto deaths = [&] { return pipe.metrics().restarts; };
    // One that is condemned while it is down comes up without that.
    for (std::uint32_t round = 0; round < 6 || (deaths() < 3 && round < 200); ++round) {
      pipe.kill_lane(round);
      auto future = pipe.attention({made.of, made.in()});
      if (round % 2 == 1)
        pipe.kill_lane(round + 1);
      auto got = future.get();
      REQUIRE(got.has_value());
      require_same(*got);
    }
    CHECK(deaths() >= 3);
    CHECK(pipe.metrics().queue->tickets_lost >= 3);
  }
}

TEST_CASE("attention: three tensors with their heads beside each other give the same bytes") {
  constexpr std::size_t heads = 4, kv_heads = 2, queries = 30, keys = 50, head_size = 32, gap = 8;
  const auto q = testing::normal_values(queries * (heads * head_size + gap), 31),
             k = testing::normal_values(keys * kv_heads * head_size, 32),
             v = testing::normal_values(keys * kv_heads * head_size, 33);
  auto q_ = testing::matrix_of(q, heads * head_size + gap);
  q_.row_bytes = q_.cols * sizeof(float);
  q_.cols -= gap;
  const auto k_ = testing::matrix_of(k, kv_heads * head_size),
             v_ = testing::matrix_of(v, kv_heads * head_size);
  attention_view longer;
  longer.of = {.heads = heads,
               .kv_heads = kv_heads,
               .queries = queries,
               .keys = keys,
               .head_size = head_size,
               .scale = 0.25f,
               .causal = true,
               .window = 9};
  const auto side = [](const tensor_view& from) {
    return kernels::attention::source_rows{
      from.data, from.type, {0, head_size * sizeof(float), from.step()}};
  };
  longer.in = {side(q_), side(k_), side(v_)};
  pipeline pipe{testing::lanes_of(2, GENERATE(isolation::thread, isolation::process))};
  const auto must = pipe.attention(longer).get();
  const auto got = pipe
                     .attention(q_, k_, v_,
                                {.heads = heads,
                                 .kv_heads = kv_heads,
                                 .causal = true,
                                 .window = 9,
                                 .scale = 0.25f})
                     .get();
  REQUIRE(must.has_value());
  REQUIRE(got.has_value());
  CHECK(got->out == must->out);
  CHECK(got->lse == must->lse);
  const auto plain = pipe.attention(k_, k_, v_, {.causal = true}).get(); // one head of 64
  REQUIRE(plain.has_value());
  // The first query sees the first key alone.
  CHECK(std::memcmp(plain->out.data(), v.data(), kv_heads * head_size * sizeof(float)) == 0);
  const auto refused = [&](const tensor_view& x, const tensor_view& y, const tensor_view& z,
                           const attention_options& how, const char* says) {
    const auto answer = pipe.attention(x, y, z, how, {.name = "a"}).get();
    REQUIRE_FALSE(answer.has_value());
    INFO(answer.error().text);
    CHECK(answer.error().code == errc::bad_shape);
    CHECK(answer.error().text.find(says) == 0);
  };
  auto cut = v_;
  --cut.rows;
  refused(q_, k_, v_, {.heads = 3}, "a: q has 128 columns, which 3 heads do not share");
  refused(q_, k_, v_, {.heads = 0}, "a: q has 128 columns, which 0 heads");
  refused(q_, k_, v_, {.heads = heads}, "a: k is (50, 64) and must be (keys, 4 kv heads of 32)");
  refused(q_, k_, cut, {.heads = heads, .kv_heads = 2}, "a: v is (49, 64) and must be (50, 2 kv");
  refused(q_, {}, v_, {.heads = heads, .kv_heads = 2}, "a: k is (0, 0) and must be (keys");
  cut = v_;
  cut.data = nullptr;
  refused(q_, k_, cut, {.heads = heads, .kv_heads = 2}, "a: q, k or v has fewer bytes");
}

TEST_CASE("attention: what does not fit is refused by name") {
  pipeline pipe{{.lanes = 1}};
  const problem made({.heads = 2, .queries = 3, .keys = 3, .head_size = 32}, kernels::dtype::f32,
                     false, 1);
  const auto code_of = [&](const attention_view& view) {
    const auto got = pipe.attention(view, {.name = "x"}).get();
    REQUIRE_FALSE(got.has_value());
    CHECK(got.error().text.starts_with("x: "));
    return got.error().code;
  };
  attention_view view{made.of, made.in()};
  view.of.head_size = 33;
  CHECK(code_of(view) == errc::bad_shape);
  view = {made.of, made.in()};
  const auto nf4 = kernels::parse_recipe("nf4", kernels::dtype::f32);
  auto lies = kernels::attention::encoded_tensor::packed(*nf4, 1, 1, 3, 32);
  view.in.q.encoded = view.in.k.encoded = &lies;
  CHECK(code_of(view) == errc::unsupported); // q is never encoded
  view.in.q.encoded = nullptr;
  lies.rows.row = 2; // blocks of two rows that are not neighbours
  CHECK(code_of(view) == errc::bad_shape);
  view = {made.of, made.in()};
  view.in.v.data = nullptr;
  CHECK(code_of(view) == errc::bad_shape);
  CHECK(pipe.attention({{.queries = 0, .keys = 3, .head_size = 32}, made.in()}).get().has_value());
}

namespace {

struct named_values {
  std::string name;
  std::vector<std::uint64_t> shape;
  std::vector<float> values;
};

void write_file(const std::filesystem::path& path, const std::vector<named_values>& tensors) {
  std::vector<formats::tensor_entry> entries;
  for (const auto& each : tensors)
    entries.push_back({each.name, "F32", each.shape, 0, 0});
  const auto header = formats::lay_header(entries, {});
  std::ofstream file(path, std::ios::binary);
  file << header;
  for (const auto& entry : entries)
    for (const auto& each : tensors)
      if (each.name == entry.name)
        file.write(reinterpret_cast<const char*>(each.values.data()),
                   static_cast<std::streamsize>(each.values.size() * sizeof(float)));
}

std::vector<float> read_values(const std::filesystem::path& path, const std::string& name) {
  const auto header = formats::read_header(path);
  REQUIRE(header.has_value());
  for (const auto& entry : header->tensors)
    if (entry.name == name) {
      std::vector<float> values(entry.bytes() / sizeof(float));
      std::ifstream file(path, std::ios::binary);
      file.seekg(static_cast<std::streamoff>(entry.begin));
      file.read(reinterpret_cast<char*>(values.data()),
                static_cast<std::streamsize>(entry.bytes()));
      return values;
    }
  FAIL("no " << name);
  return {};
}

/// The problem's own layout is (rows, heads, head_size): two dimensions of a file.
std::vector<float> floats(const std::vector<std::byte>& side) {
  std::vector<float> values((side.size() - 1) / sizeof(float));
  std::memcpy(values.data(), side.data() + 1, values.size() * sizeof(float));
  return values;
}

std::vector<float> heads_first(const std::vector<float>& in, std::size_t heads, std::size_t width) {
  std::vector<float> out(in.size());
  const std::size_t rows = in.size() / heads / width;
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t h = 0; h < heads; ++h)
      std::copy_n(in.begin() + static_cast<long>((i * heads + h) * width), width,
                  out.begin() + static_cast<long>((h * rows + i) * width));
  return out;
}

} // namespace

TEST_CASE("attention: a file with heads in front and one with heads beside each other agree") {
  const tests::temporary_folder folder;
  const shape of{
      .heads = 4, .kv_heads = 2, .queries = 21, .keys = 50, .head_size = 32, .causal = true};
  const problem made(of, kernels::dtype::f32, false, 31);
  const auto q = floats(made.q), k = floats(made.k), v = floats(made.v);
  const auto flat = folder.path() / "flat.safetensors", deep = folder.path() / "deep.safetensors";
  write_file(flat, {{"q", {21, 128}, q}, {"k", {50, 64}, k}, {"v", {50, 64}, v}});
  write_file(deep, {{"q", {4, 21, 32}, heads_first(q, 4, 32)},
                    {"k", {2, 50, 32}, heads_first(k, 2, 32)},
                    {"v", {2, 50, 32}, heads_first(v, 2, 32)}});
  attention_spec spec;
  spec.causal = true;
  spec.lanes = 2;
  spec.source = deep;
  spec.output = folder.path() / "deep-out.safetensors";
  const auto report = run_attention(spec);
  REQUIRE(report.has_value());
  CHECK(report->of.kv_heads == 2);
  kernels::testing::result got(of);
  got.out = read_values(spec.output, "out");
  got.lse = read_values(spec.output, "lse");
  kernels::testing::require_close(of, got, made.truth(), 2e-6);
  CHECK_FALSE(run_attention(spec).has_value()); // the output is there
  spec.overwrite = true;
  CHECK(run_attention(spec).has_value());
  spec.source = flat;
  spec.output = folder.path() / "flat-out.safetensors";
  const auto unsaid = run_attention(spec);
  REQUIRE_FALSE(unsaid.has_value());
  CHECK(unsaid.error().text.find("--heads") != std::string::npos);
  spec.heads = 4;
  spec.kv_heads = 2;
  REQUIRE(run_attention(spec).has_value());
  CHECK(heads_first(read_values(spec.output, "out"), 4, 32) == got.out);
  CHECK(read_values(spec.output, "lse") == got.lse);
}

// k and v are 512 KiB each, for whose copies a budget of 256 KiB has no room.
TEST_CASE("attention: lane processes read a file that is lent to them, where it lies") {
  const tests::temporary_folder folder;
  const auto path = folder.path() / "values";
  const problem made(shape{.queries = sized(40, 8), .keys = 2048, .head_size = 64},
                     kernels::dtype::f32, false, 41);
  std::ofstream file(path, std::ios::binary);
  for (const auto* side : {&made.k, &made.v})
    file.write(reinterpret_cast<const char*>(side->data()) + 1,
               static_cast<std::streamsize>(side->size() - 1));
  file.close();
  const auto mapped = actors::mapped_file::open(path);
  REQUIRE(mapped.has_value());
  auto options = testing::lanes_of(2, isolation::process);
  options.budget_bytes = 256 << 10;
  pipeline pipe{options};
  auto in = made.in();
  in.k.data = mapped->bytes().data();
  in.v.data = in.k.data + mapped->bytes().size() / 2;
  const auto copied = pipe.attention({made.of, in}).get();
  REQUIRE_FALSE(copied.has_value());
  CHECK(copied.error().code == errc::over_budget);
  {
    const auto lent = pipe.lend(path, mapped->bytes());
    REQUIRE(lent.has_value());
    const auto got = pipe.attention({made.of, in}).get();
    REQUIRE(got.has_value());
    kernels::testing::require_close(made.of, unpacked(made.of, *got), made.truth(), 2e-6);
  }
  CHECK_FALSE(pipe.attention({made.of, in}).get().has_value()); // given back: copies again
  const auto missing = pipe.lend(folder.path() / "nothing", mapped->bytes());
  REQUIRE_FALSE(missing.has_value());
  CHECK(missing.error().code == errc::unreadable);
}

TEST_CASE("attention: files that lack a tensor or do not fit are named, and nothing is left") {
  const tests::temporary_folder folder;
  const auto source = folder.path() / "in.safetensors", output = folder.path() / "out.safetensors";
  const std::vector<float> values(4 * 32, 1.0f);
  const auto refused = [&](const std::vector<named_values>& tensors, const char* word) {
    write_file(source, tensors);
    attention_spec spec;
    spec.source = source;
    spec.output = output;
    const auto got = run_attention(spec);
    REQUIRE_FALSE(got.has_value());
    INFO(got.error().text);
    CHECK(got.error().text.find("in.safetensors") != std::string::npos);
    CHECK(got.error().text.find(word) != std::string::npos);
    for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
      CHECK(entry.path() == source);
  };
  const named_values q{"q", {1, 4, 32}, values}, k{"k", {1, 4, 32}, values};
  refused({q, k}, "v: is missing");
  refused({q, k, {"v", {1, 2, 64}, values}}, "do not fit");
  refused({q, k, {"v", {128}, values}}, "shape");
  refused({{"q", {1, 8, 16}, values}, {"k", {1, 8, 16}, values}, {"v", {1, 8, 16}, values}},
          "head size 16");
}

TEST_CASE("attention: a source that changes while it is computed gives an error, no output") {
  const tests::temporary_folder folder;
  const auto source = folder.path() / "in.safetensors", output = folder.path() / "out.safetensors";
  const std::size_t n = tests::sized_for_kernels(8192, 512); // takes far longer than a look
  const std::vector<float> values(n * 64, 0.5f);
  const auto change = [&](bool cut) {
    write_file(source, {{"q", {1, n, 64}, values},
                        {"k", {1, n, 64}, values},
                        {"v", {1, n, 64}, values}});
    const auto was = actors::state_of(source);
    std::atomic<bool> over = false;
    std::jthread onlooker([&] {
      // The claim is taken once the header was read.
      while (!over && !std::filesystem::exists(actors::journal_path(output)))
        std::this_thread::yield();
      do { // the clock of files ticks in milliseconds
        if (cut)
          std::filesystem::resize_file(source, std::filesystem::file_size(source) / 2);
        else
          std::ofstream(source, std::ios::binary | std::ios::in).seekp(4096).put('!');
      } while (actors::state_of(source) == was);
    });
    attention_spec spec;
    spec.source = source;
    spec.output = output;
    spec.lanes = 1;
    const auto got = run_attention(spec);
    over = true;
    onlooker.join();
    REQUIRE_FALSE(got.has_value());
    INFO(got.error().text);
    CHECK(got.error().text.find("changed or was cut short") != std::string::npos);
    for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
      CHECK(entry.path() == source);
  };
  change(true);
  change(false);
}
