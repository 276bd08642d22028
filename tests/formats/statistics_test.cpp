// Statistics files of all three kinds, made by hand: what they say, what is refused, and every
// truncation.

#include "tests/formats/statistics_files.hpp"
#include "tests/support/catch.hpp"

#include "formats/gguf_names.hpp"
#include "formats/statistics.hpp"

#include <cmath>
#include <limits>

using namespace viva;
using namespace viva::formats;
using namespace viva::formats::testing;

namespace {

struct ours {
  std::vector<float> squares = {4, 8, 0, 16};
  std::vector<float> abs = {};
  std::int64_t count = 2;
  std::string module = "model.layers.0.mlp.up_proj";

  std::string bytes() const {
    std::vector<tensor_entry> all = {tensor(module + ".sum_sq", "F32", {squares.size()}),
                                     tensor(module + ".count", "I64", {})};
    if (!abs.empty())
      all.push_back(tensor(module + ".sum_abs", "F32", {abs.size()}));
    auto file = lay_header(all, {});
    for (const auto& entry : all)
      file += entry.dtype == "I64"               ? raw(count)
              : entry.name.ends_with(".sum_abs") ? floats(abs)
                                                 : floats(squares);
    return file;
  }
};

std::string legacy_file() {
  return raw(std::int32_t{2}) + legacy_record("blk.3.ffn_down.weight", 4, {4, 8, 12})
         + legacy_record("blk.3.ffn_up_exps.weight", 2, {2, 4, 6, 8});
}

std::string good_gguf() {
  return gguf_file({{"blk.0.attn_q.weight.counts", {1, 1}, {8}},
                    {"blk.0.attn_q.weight.in_sum2", {3, 1}, {8, 16, 2}},
                    {"blk.1.ffn_gate_exps.weight.counts", {1, 2}, {4, 0}},
                    {"blk.1.ffn_gate_exps.weight.in_sum2", {2, 2}, {4, 8, 0, 0}}});
}

expected<channel_statistics> ask(const std::filesystem::path& file, const std::string& module,
                                 std::uint64_t columns) {
  const auto all = statistics::open(file);
  if (!all)
    return tl::unexpected(all.error());
  return all->of(module, columns);
}

std::string refusal(const std::filesystem::path& file, const std::string& module,
                    std::uint64_t columns) {
  const auto found = ask(file, module, columns);
  REQUIRE_FALSE(found);
  CHECK(found.error().code == errc::malformed);
  CHECK(has(found.error().text, file.filename().string()));
  return found.error().text;
}

const std::string up = "model.layers.0.mlp.up_proj";

} // namespace

TEST_CASE("statistics: our file gives means of squares and magnitudes", "[statistics]") {
  const temporary_folder folder;
  const auto plain = ask(put(folder / "a.safetensors", ours{}.bytes()), up, 4);
  REQUIRE(plain);
  CHECK(plain->measured);
  CHECK(plain->mean_square == std::vector<float>{2, 4, 0, 8});
  CHECK(plain->mean_abs == std::vector<float>{std::sqrt(2.0f), 2, 0, std::sqrt(8.0f)});
  const auto both = ask(put(folder / "b.safetensors", ours{.abs = {2, 2, 0, 3}}.bytes()), up, 4);
  REQUIRE(both);
  CHECK(both->mean_abs == std::vector<float>{1, 1, 0, 1.5f});
}

TEST_CASE("statistics: llama.cpp's records are asked for by Hugging Face names", "[statistics]") {
  const temporary_folder folder;
  const auto file =
      put(folder / "a.dat", legacy_file() + raw(std::int32_t{9}) + raw(std::int32_t{4}) + "wiki");
  const auto down = ask(file, "model.layers.3.mlp.down_proj", 3);
  REQUIRE(down);
  CHECK(down->mean_square == std::vector<float>{1, 2, 3});
  const auto first = ask(file, "model.layers.3.mlp.experts.0.up_proj", 2);
  const auto second = ask(file, "model.layers.3.block_sparse_moe.experts.1.w3", 2);
  REQUIRE((first && second));
  CHECK(first->mean_square == std::vector<float>{1, 2});
  CHECK(second->mean_square == std::vector<float>{3, 4});
  const auto by_own_name = ask(file, "blk.3.ffn_down", 3);
  REQUIRE(by_own_name);
  CHECK(by_own_name->mean_square == down->mean_square);
}

TEST_CASE("statistics: a record without calls holds means already", "[statistics]") {
  const temporary_folder folder;
  const auto file =
      put(folder / "a.dat", raw(std::int32_t{1}) + legacy_record("output.weight", 0, {4, 8}));
  const auto head = ask(file, "lm_head", 2);
  REQUIRE(head);
  CHECK(head->mean_square == std::vector<float>{4, 8});
}

TEST_CASE("statistics: llama.cpp's GGUF is divided by its counts", "[statistics]") {
  const temporary_folder folder;
  const auto file = put(folder / "a.gguf", good_gguf());
  const auto q = ask(file, "model.language_model.layers.0.self_attn.q_proj", 3);
  REQUIRE(q);
  CHECK(q->mean_square == std::vector<float>{1, 2, 0.25f});
  const auto used = ask(file, "model.layers.1.mlp.experts.0.gate_proj", 2);
  REQUIRE(used);
  CHECK(used->mean_square == std::vector<float>{1, 2});
  const auto idle = ask(file, "model.layers.1.mlp.experts.1.gate_proj", 2);
  REQUIRE(idle);
  CHECK_FALSE(idle->measured);
  CHECK(idle->mean_square == std::vector<float>{1, 1});
}

TEST_CASE("statistics: a layer that saw nothing counts every channel the same", "[statistics]") {
  const temporary_folder folder;
  for (const auto& file : {ours{.squares = {0, 0, 0, 0}}, ours{.count = 0}}) {
    const auto found = ask(put(folder / "a.safetensors", file.bytes()), up, 4);
    REQUIRE(found);
    CHECK_FALSE(found->measured);
    CHECK(found->mean_square == std::vector<float>{1, 1, 1, 1});
    CHECK(found->mean_abs == std::vector<float>{1, 1, 1, 1});
  }
}

TEST_CASE("statistics: numbers that cannot be sums are refused by place", "[statistics]") {
  const temporary_folder folder;
  constexpr auto nan = std::numeric_limits<float>::quiet_NaN();
  for (const float bad : {-1.0f, nan, HUGE_VALF}) {
    auto file = ours{};
    file.squares[2] = bad;
    const auto text = refusal(put(folder / "a.safetensors", file.bytes()), up, 4);
    CHECK(has(text, "'" + up + ".sum_sq'"));
    CHECK(has(text, "at channel 2"));
    const auto old = raw(std::int32_t{1}) + legacy_record("blk.0.ffn_up.weight", 1, {1, bad});
    CHECK(has(refusal(put(folder / "a.dat", old), up, 2), "at channel 1"));
    auto counted = gguf_file(
        {{"blk.0.ffn_up.weight.counts", {1}, {bad}}, {"blk.0.ffn_up.weight.in_sum2", {2}, {1, 1}}});
    CHECK(has(refusal(put(folder / "a.gguf", counted), up, 2), "at matrix 0"));
  }
  CHECK(has(refusal(put(folder / "a.safetensors", ours{.count = -3}.bytes()), up, 4), "negative"));
  const auto abs = ours{.abs = {1, 1, 1, nan}}.bytes();
  CHECK(has(refusal(put(folder / "a.safetensors", abs), up, 4), "sum_abs'"));
}

TEST_CASE("statistics: another model's are refused", "[statistics]") {
  const temporary_folder folder;
  const auto mine = put(folder / "a.safetensors", ours{}.bytes());
  CHECK(has(refusal(mine, up, 5), "has 4 values; the weight of '" + up + "' has 5 columns"));
  CHECK(has(refusal(mine, up, 2), "another model's"));
  CHECK(has(refusal(mine, up, 0), "another model's"));
  CHECK(has(refusal(mine, "model.layers.1.mlp.up_proj", 4), "holds no statistics of"));
  const auto old = put(folder / "a.dat", legacy_file());
  CHECK(has(refusal(old, "model.layers.3.mlp.experts.2.up_proj", 2), "another model's"));
  const auto all = statistics::open(mine);
  REQUIRE(all);
  CHECK(all->knows(up));
  CHECK_FALSE(all->knows("model.layers.1.mlp.up_proj"));
}

TEST_CASE("statistics: files that are none are refused", "[statistics]") {
  const temporary_folder folder;
  const auto refused = [&](const std::string& bytes) {
    const auto all = statistics::open(put(folder / "x", bytes));
    REQUIRE_FALSE(all);
    CHECK(has(all.error().text, "x'"));
    return all.error().text;
  };
  CHECK(has(refused(""), "ends at byte 0"));
  CHECK(has(refused(file_of({tensor("a.weight", "F32", {2})})), "holds no statistics"));
  CHECK(has(refused(file_of({tensor("a.sum_sq", "F16", {2})})), "must be F32"));
  CHECK(has(refused(file_of({tensor("a.sum_sq", "F32", {2})})), "one I64"));
  CHECK(has(refused(file_of({tensor("a.sum_sq", "F32", {2}), tensor("a.count", "I64", {1}),
                             tensor("a.sum_abs", "F32", {3})})),
            "as long as sum_sq"));
  CHECK(has(refused(gguf_file({}, "model")), "is no imatrix"));
  CHECK(has(refused(gguf_file({})), "holds no statistics"));
  CHECK(has(refused(gguf_file({{"a.weight.in_sum2", {2}, {1, 1}}})), ".counts beside it"));
  CHECK(has(
      refused(gguf_file({{"a.weight.in_sum2", {2}, {1, 1}}, {"a.weight.counts", {1, 2}, {1, 1}}})),
      ".counts beside it"));
  CHECK(has(refused(raw(std::int32_t{0})), "holds no statistics"));
  CHECK(has(refused(raw(std::int32_t{-5}) + "abcdef"), "has -5 for the number of records"));
  CHECK(has(refused(raw(std::int32_t{2}) + legacy_record("a", 1, {1}) + legacy_record("a", 1, {1})),
            "two records for 'a'"));
  CHECK_FALSE(statistics::open(folder / "missing"));
}

TEST_CASE("statistics: a GGUF's header is checked", "[statistics][gguf]") {
  const temporary_folder folder;
  const auto good = good_gguf();
  const auto refused = [&](std::string bytes) {
    const auto all = statistics::open(put(folder / "x", bytes));
    REQUIRE_FALSE(all);
    CHECK(all.error().code == errc::malformed);
    return all.error().text;
  };
  const auto with = [&](std::size_t at, const std::string& bytes) {
    return std::string(good).replace(at, bytes.size(), bytes);
  };
  const auto offset_of = [&](const std::string& text) { return good.find(text); };
  CHECK(has(refused(with(4, raw(std::uint32_t{1}))), "version 1"));
  CHECK(has(refused(with(4, raw(std::uint32_t{3u << 24}))), "big-endian"));
  CHECK(has(refused(with(8, raw(~std::uint64_t{0}))), "more than it has room for"));
  CHECK(has(refused(with(16, raw(~std::uint64_t{0}))), "more than it has room for"));
  CHECK(has(refused(with(24, raw(~std::uint64_t{0}))), "holds a string of"));
  CHECK(has(refused(with(offset_of("imatrix.datasets") + 16, raw(std::uint32_t{77}))),
            "unknown type 77"));
  CHECK(has(refused(with(offset_of("imatrix.datasets") + 20, raw(std::uint32_t{9}))),
            "array of type 9"));
  const auto first = offset_of("blk.0.attn_q.weight.counts");
  CHECK(has(refused(with(first + 26, raw(std::uint32_t{5}))), "5 dimensions"));
  CHECK(has(refused(with(first + 30, raw(std::uint64_t{1} << 60))), "more than 2^48"));
  CHECK(has(refused(with(first + 46, raw(std::uint32_t{4}))), "type 4 and rows"));
  CHECK(has(refused(with(first + 50, raw(std::uint64_t{32}))), "where 0 is next"));
  CHECK(has(refused(gguf_file({{"a.weight.counts", {1}, {1}}, {"a.weight.counts", {1}, {1}}})),
            "two tensors called 'a.weight.counts'"));
}

TEST_CASE("statistics: every truncation is refused or loses nothing", "[statistics]") {
  const temporary_folder folder;
  struct sample {
    std::string bytes, module;
    std::uint64_t columns;
    std::size_t needed; ///< Bytes without which the file says less.
  };
  const auto gguf = good_gguf();
  const auto legacy = legacy_file();
  const sample samples[] = {
      {ours{.abs = {2, 2, 0, 3}}.bytes(), up, 4, ours{.abs = {2, 2, 0, 3}}.bytes().size()},
      {gguf, "model.layers.0.self_attn.q_proj", 3, gguf.size() - 16}, // the last tensor's padding
      {legacy + raw(std::int32_t{9}) + raw(std::int32_t{1}) + "w", "model.layers.3.mlp.down_proj",
       3, legacy.size()},
  };
  for (const auto& each : samples)
    for (std::size_t length = 0; length <= each.bytes.size(); ++length) {
      const auto file = put(folder / "x", each.bytes.substr(0, length));
      INFO(each.module << " cut to " << length << " of " << each.bytes.size());
      CHECK(static_cast<bool>(ask(file, each.module, each.columns)) == (length >= each.needed));
    }
}

TEST_CASE("statistics: a changed byte is refused or gives finite numbers", "[statistics]") {
  const temporary_folder folder;
  const std::pair<std::string, std::string> samples[] = {
      {good_gguf(), "model.layers.0.self_attn.q_proj"},
      {legacy_file(), "model.layers.3.mlp.down_proj"},
      {ours{.squares = {1, 2, 3}, .module = "m"}.bytes(), "m"}};
  for (const auto& [bytes, module] : samples)
    for (std::size_t at = 0; at < bytes.size(); ++at)
      for (const int change : {0x01, 0x80, 0xFF}) {
        auto changed = bytes;
        changed[at] = static_cast<char>(changed[at] ^ change);
        const auto found = ask(put(folder / "x", changed), module, 3);
        if (!found)
          continue;
        for (const float x : found->mean_square)
          REQUIRE((x >= 0 && std::isfinite(x)));
      }
}

TEST_CASE("statistics: modules are called as llama.cpp calls them", "[statistics][gguf]") {
  const auto name = [](const char* module) {
    const auto found = gguf_module_of(module);
    return !found ? "none"
                  : found->name + (found->expert ? "#" + std::to_string(*found->expert) : "");
  };
  CHECK(name("model.layers.11.self_attn.o_proj") == "blk.11.attn_output");
  CHECK(name("layers.0.mlp.gate_proj") == "blk.0.ffn_gate");
  CHECK(name("model.layers.2.mlp.shared_expert.up_proj") == "blk.2.ffn_up_shexp");
  CHECK(name("model.layers.2.block_sparse_moe.experts.7.w2") == "blk.2.ffn_down_exps#7");
  CHECK(name("lm_head") == "output");
  for (const auto* other : {"model.layers.x.mlp.up_proj", "model.layers.3", "players.0.mlp.up_proj",
                            "model.layers.0.mlp.experts.1", "model.layers.0.mlp.experts.q.w1", "",
                            "model.layers.0.mlp.up_proj.x"})
    CHECK(name(other) == "none");
}
