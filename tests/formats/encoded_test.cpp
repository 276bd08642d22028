#include "tests/formats/output.hpp"
#include "tests/support/catch.hpp"

#include "kernels/nf4_dq.hpp"

using namespace viva;
using namespace viva::formats;
using namespace viva::formats::testing;

namespace {

std::string source_of(const std::string& dtype) {
  return normal_file({tensor("embed.weight", dtype, {7, 64}), tensor("a.weight", dtype, {64, 512}),
                      tensor("b.weight", dtype, {8, 512}), tensor("b.bias", dtype, {8}),
                      tensor("steps", "I64", {2})},
                     11);
}

struct quantized {
  checkpoint source;
  std::map<std::string, std::vector<float>> decoded;
};

quantized quantize(const temporary_folder& folder, const std::string& method,
                   const std::string& dtype) {
  quantized made;
  made.source = open_checkpoint(put(folder / "source.safetensors", source_of(dtype))).value();
  const auto choices = choose_all(made.source, method);
  REQUIRE(choices.size() == 2);
  const auto layout = default_layout(*choices.front().recipe.row);
  const auto out = lay_out(made.source, choices, layout, "9.9").value();
  made.decoded = write_output(made.source, choices, out, folder / "out.safetensors");
  return made;
}

/// Reads out.safetensors after `change` was made to its bytes; the error's text, or empty.
template <class Change>
std::string read_after(const temporary_folder& folder, Change&& change) {
  auto bytes = get(folder / "out.safetensors");
  change(bytes);
  const auto c = open_checkpoint(put(folder / "changed.safetensors", bytes));
  REQUIRE(c);
  const auto read = read_logical(*c);
  return read ? std::string{} : read.error().text;
}

void replace(std::string& bytes, const std::string& old, const std::string& by) {
  REQUIRE(old.size() == by.size());
  const auto at = bytes.find(old);
  REQUIRE(at != std::string::npos);
  bytes.replace(at, old.size(), by);
}

} // namespace

TEST_CASE("encoded: every method in every dtype is read back as it was laid out") {
  for (const auto& row : kernels::methods())
    for (const std::string dtype : {"F32", "F16", "BF16"}) {
      if (default_layout(row) == "dense")
        continue; // plain tensors, which nothing tells from their source
      INFO(row.name << " " << dtype);
      const temporary_folder folder;
      const auto made = quantize(folder, std::string(row.name), dtype);
      const auto bytes = get(folder / "out.safetensors");
      const auto c = open_checkpoint(folder / "out.safetensors").value();
      const auto read = read_logical(c);
      INFO((read ? "" : read.error().text));
      REQUIRE(read);
      REQUIRE(read->size() == 5);
      std::uint64_t stored = 0;
      for (const auto& each : *read) {
        INFO(each.name);
        stored += each.stored_bytes;
        CHECK(bool(each.recipe) == made.decoded.contains(each.name));
        if (!each.recipe) {
          CHECK(each.planes.empty());
          continue;
        }
        CHECK(each.recipe->name() == row.name);
        CHECK(each.dtype == dtype);
        CHECK(each.layout == default_layout(row));
        std::vector<const std::byte*> planes;
        std::vector<std::vector<std::byte>> back; // of planes that lie transposed
        const auto shape = each.recipe->row->shape(*each.recipe, each.shape[1]);
        for (std::size_t p = 0; p < each.planes.size(); ++p) {
          planes.push_back(reinterpret_cast<const std::byte*>(bytes.data() + each.planes[p]));
          if (each.transposed.empty())
            continue;
          const auto size = shape.planes[p].bytes(0, each.shape[0], each.shape[1]);
          back.push_back(turned({planes.back(), planes.back() + size}, shape.planes[p].unit_bytes,
                                each.transposed[p]));
          planes.back() = back.back().data();
        }
        CHECK(decode_whole(*each.recipe, each.shape[0], each.shape[1], each.numbers, planes)
              == made.decoded.at(each.name));
      }
      CHECK(stored == c.files[0].header.file_bytes - c.files[0].header.data_begin);
    }
}

TEST_CASE("encoded: a block size other than the usual one is read back") {
  const temporary_folder folder;
  quantize(folder, "nf4-dq:block=128", "BF16");
  const auto read = read_logical(open_checkpoint(folder / "out.safetensors").value()).value();
  CHECK(read.front().recipe->name() == "nf4-dq:block=128");
}

TEST_CASE("encoded: options are read back, those that leave no trace from our note") {
  for (const std::string method : {"int4:group=64", "int4:asym", "int4:group=32:asym:search",
                                   "int4:search", "int4:absmax", "int8-group:group=32"}) {
    const temporary_folder folder;
    const auto made = quantize(folder, method, "BF16");
    const auto bytes = get(folder / "out.safetensors");
    const auto read = read_logical(open_checkpoint(folder / "out.safetensors").value()).value();
    REQUIRE(read.front().name == "a.weight");
    CHECK(read.front().recipe->name() == method);
    std::vector<const std::byte*> planes;
    for (const auto offset : read.front().planes)
      planes.push_back(reinterpret_cast<const std::byte*>(bytes.data() + offset));
    CHECK(decode_whole(*read.front().recipe, 64, 512, {}, planes) == made.decoded.at("a.weight"));
  }
}

TEST_CASE("encoded: LLM.int8 without our note was f16") {
  const temporary_folder folder;
  quantize(folder, "llm-int8", "BF16");
  auto bytes = get(folder / "out.safetensors");
  replace(bytes, "\"viva\":\"{", "\"vivi\":\"{");
  const auto read =
      read_logical(open_checkpoint(put(folder / "foreign.safetensors", bytes)).value());
  REQUIRE(read);
  CHECK(read->front().recipe->name() == "llm-int8");
  CHECK(read->front().dtype == "F16");
}

TEST_CASE("encoded: the engines' signs are enough, without our note") {
  for (const std::string method :
       {"nf4", "nf4-dq", "int8", "int8-tensor", "int8-group", "int4", "int4:asym", "awq",
        "fp8", "fp8-tensor", "fp8-block", "nvfp4", "mxfp4"}) {
    const temporary_folder folder;
    quantize(folder, method, "BF16");
    auto bytes = get(folder / "out.safetensors");
    replace(bytes, "\"viva\":\"{", "\"vivi\":\"{");
    const auto c = open_checkpoint(put(folder / "foreign.safetensors", bytes)).value();
    const auto read = read_logical(c);
    REQUIRE(read);
    CHECK(read->size() == 5);
    CHECK(read->front().recipe->name() == method);
    CHECK(read->front().dtype == (method == "awq" ? "F16" : "BF16")); // AWQ's sign is silent on it
  }
}

TEST_CASE("encoded: without its note a weight of GGUF blocks is plain bytes") {
  const temporary_folder folder;
  quantize(folder, "q8_0", "BF16");
  CHECK(read_after(folder, [](std::string& bytes) {
          replace(bytes, "\"viva\":\"{", "\"vivi\":\"{");
        }).empty());
}

TEST_CASE("encoded: AWQ's parts that do not fit each other are refused", "[awq]") {
  const temporary_folder folder;
  quantize(folder, "awq:group=32", "BF16");
  const auto read = read_logical(open_checkpoint(folder / "out.safetensors").value()).value();
  CHECK(read.front().recipe->name() == "awq:group=32");
  const auto shape = [](const char* name, const char* dtype, const char* extents) {
    return std::string(R"("a.)") + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + extents;
  };
  CHECK(has(read_after(folder,
                       [&](std::string& bytes) {
                         replace(bytes, shape("qzeros", "I32", "[16,8]"),
                                 shape("qzeros", "I32", "[8,16]"));
                       }),
            "only AWQ's version gemm"));
  CHECK(has(read_after(folder,
                       [&](std::string& bytes) {
                         replace(bytes, shape("scales", "F16", "[16,64]"),
                                 shape("scales", "F16", "[64,16]"));
                       }),
            "only AWQ's version gemm"));
  CHECK(has(read_after(folder,
                       [&](std::string& bytes) {
                         replace(bytes, shape("qzeros", "I32", ""), shape("qxeros", "I32", ""));
                       }),
            "needs the tensor 'a.qzeros'"));
}

TEST_CASE("encoded: parts that are missing or do not fit are refused by name") {
  const temporary_folder folder;
  SECTION("bitsandbytes") {
    quantize(folder, "nf4-dq", "BF16");
    const auto after = [&](const std::string& old, const std::string& by) {
      return read_after(folder, [&](std::string& bytes) { replace(bytes, old, by); });
    };
    CHECK(has(after("a.weight.absmax", "x.weight.absmax"), "needs the tensor 'a.weight.absmax'"));
    CHECK(has(after("a.weight.quant_map", "x.weight.quant_map"), "'a.weight.quant_map'"));
    CHECK(has(after("a.weight.nested_absmax", "x.weight.nested_absmax"), "nested_absmax"));
    CHECK(has(after("\"quant_type\": \"nf4\"", "\"quant_type\": \"fp4\""), "only nf4"));
    CHECK(has(after("\"blocksize\": 64", "\"blocksize\": 63"), "63"));
    CHECK(has(after("\"shape\": [64, 512]", "\"shape\": [64, 513]"), "needs 16416"));
    CHECK(has(after("\"shape\": [64, 512]", "\"shape\": [64,-512]"), "no quant_state"));
    CHECK(has(after("\"shape\": [64, 512]", "\"shape\": [  32768]"), "cannot take"));
    CHECK(has(after("\"nested_blocksize\": 256", "\"nested_blocksize\": 128"), "only 256"));
    CHECK(has(after("\"dtype\": \"bfloat16\"", "\"dtype\": \"bfloat17\""), "bfloat17"));
    CHECK(has(after("{\"quant_type\"", "[\"quant_type\""), "no quant_state"));
    const std::string first_level("\xb1\x39\x32\xbf", 4); // -0.696 of the quant_map
    CHECK(has(after(first_level, std::string("\xb1\x39\x33\xbf", 4)), "another table"));
  }
  SECTION("compressed-tensors") {
    quantize(folder, "int8", "BF16");
    CHECK(has(
        read_after(folder,
                   [](std::string& bytes) { replace(bytes, "a.weight_scale", "x.weight_scale"); }),
        "'a.weight': is noted as encoded in layout 'compressed-tensors'"));
    const auto scaled = [&](const tensor_entry& scale, const std::string& more) {
      std::vector<tensor_entry> all = {tensor("a.weight", "I8", {4, 8}), scale};
      if (!more.empty())
        all.push_back(tensor(more, "I8", {4, 1}));
      const auto read =
          read_logical(open_checkpoint(put(folder / "ct.safetensors", file_of(all))).value());
      return read ? std::string{} : read.error().text;
    };
    CHECK(scaled(tensor("a.weight_scale", "F16", {4, 1}), "").empty());
    CHECK(scaled(tensor("a.weight_scale", "F16", {1}), "").empty());
    CHECK(has(scaled(tensor("a.weight_scale", "F16", {2}), ""), "2 scales for 4 rows"));
    CHECK(has(scaled(tensor("a.weight_scale", "F64", {4, 1}), ""), "F64"));
    CHECK(
        has(scaled(tensor("a.weight_scale", "F16", {4, 1}), "a.weight_zero_point"), "zero point"));
  }
  SECTION("our note") {
    quantize(folder, "q8_0", "BF16");
    const auto after = [&](const std::string& old, const std::string& by) {
      return read_after(folder, [&](std::string& bytes) { replace(bytes, old, by); });
    };
    CHECK(has(after("\\\"q8_0\\\"", "\\\"q9_0\\\""), "no method is called 'q9_0'"));
    CHECK(has(after("\\\"dtype\\\":\\\"BF16\\\"", "\\\"dtype\\\":\\\"XF16\\\""), "XF16"));
    CHECK(has(after("\\\"shape\\\":[64,512]", "\\\"shape\\\":[64,544]"), "needs"));
    CHECK(has(after("\\\"shape\\\":[64,512]", "\\\"shape\\\":[64,513]"), "cannot take"));
    CHECK(has(after("\\\"tensors\\\"", "\\\"tensorz\\\""), "no object tensors"));
    CHECK(has(after("\\\"method\\\"", "\\\"methog\\\""), "is missing"));
  }
}

TEST_CASE("encoded: packed integers that do not fit are refused by name") {
  const temporary_folder folder;
  SECTION("pack-quantized") {
    quantize(folder, "int4:asym", "BF16");
    const auto after = [&](const std::string& old, const std::string& by) {
      return read_after(folder, [&](std::string& bytes) { replace(bytes, old, by); });
    };
    CHECK(has(after("a.weight_scale", "x.weight_scale"), "whose tensors are missing"));
    CHECK(has(after("a.weight_zero_point", "a.weight_zero_paint"), "is noted as 'int4:asym'"));
    const auto shape = std::string("\x40\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0", 16);
    auto other = shape;
    other[0] = '\x41';
    CHECK(has(after(shape, other), "needs"));
    other = shape;
    other[8] = '\x08';
    CHECK(has(after(shape, other), "does not go with its shape"));
    other[8] = '\0';
    other[9] = '\0';
    CHECK(has(after(shape, other), "does not go with its shape"));
  }
  SECTION("LLM.int8") {
    quantize(folder, "llm-int8", "BF16");
    const auto after = [&](const std::string& old, const std::string& by) {
      return read_after(folder, [&](std::string& bytes) { replace(bytes, old, by); });
    };
    CHECK(has(after("\"a.SCB\"", "\"x.SCB\""), "whose tensors are missing"));
    CHECK(has(after("a.weight_format", "x.weight_format"), "needs the tensor 'a.weight_format'"));
  }
}

TEST_CASE("encoded: what is quantized is not laid out again") {
  const temporary_folder folder;
  quantize(folder, "q8_0", "BF16");
  const auto bytes = get(folder / "out.safetensors");
  const auto c = open_checkpoint(folder / "out.safetensors").value();
  const auto recipe = kernels::parse_recipe("nf4", kernels::dtype::bf16).value();
  for (std::uint32_t t = 0; t < c.files[0].header.tensors.size(); ++t)
    if (entry_of(c, {0, t}).name == "embed.weight") {
      const choice again[] = {{{0, t}, recipe}};
      const auto out = lay_out(c, again, "bitsandbytes", "9.9");
      REQUIRE_FALSE(out);
      CHECK(has(out.error().text, "quantized already"));
    }
}
