// Published bytes: every method writes what the engines' own quantizers write. The hashes come from
// running ggml (built without FMA) and bitsandbytes' CPU path on the values of `generate`, those of
// compressed-tensors' methods from an independent implementation of its rules.
// int8, llm-int8 and int4 from an independent implementation of the engines' rules. What no engine
// writes, or writes by a rule of which only words exist, is in golden_rules_test.cpp.

#include "kernels/nf4.hpp"
#include "kernels/nf4_dq.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/support/catch.hpp"

#include <cstring>

namespace viva::kernels::testing {

namespace {

const tensor& ggml_source() {
  static const tensor source = make_tensor(generate(8192, 12345), dtype::f32, 8, 1024);
  return source;
}

const tensor& bf16_source() {
  static const tensor source = make_tensor(generate(32768, 2024), dtype::bf16, 64, 512);
  return source;
}

struct encoded {
  tensor_numbers numbers;
  planes bytes;
};

encoded encode(std::string_view method, const tensor& source, path which) {
  const auto with = recipe_of(method, source.type);
  encoded result{numbers_of(with, source.view()), planes(with, source.rows, source.cols)};
  const auto encoder =
      which == path::reference ? with.row->encode_reference : with.row->encode_simd;
  const auto done = encoder(with, source.view(), result.numbers, result.bytes.pointers());
  REQUIRE(done == status{});
  return result;
}

template <class T>
T at(const std::vector<std::byte>& bytes, std::size_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

} // namespace

TEST_CASE("the generator of the golden vectors is the published one", "[golden]") {
  const auto x = generate(2, 12345);
  REQUIRE(bits_of(x[0]) == 0xbe61ec42u);
  REQUIRE(bits_of(x[1]) == 0x676a1du + 0xbe000000u);
  REQUIRE(golden_hash(bf16_source().bytes) == 0x2ce9d5624ffa1f20u);
}

TEST_CASE("f16 and bf16 conversions write ggml's bytes", "[golden][convert]") {
  const auto x = generate(8192, 12345);
  std::vector<std::byte> bytes(2 * x.size());
  store_f32(x.data(), dtype::f16, x.size(), bytes.data());
  REQUIRE(golden_hash(bytes) == 0xc942181b6c16bb0au);
  store_f32(x.data(), dtype::bf16, x.size(), bytes.data());
  REQUIRE(golden_hash(bytes) == 0x630c32563d085581u);
}

TEST_CASE("GGUF blocks have ggml's bytes", "[golden][ggml]") {
  const auto which = GENERATE(path::reference, path::simd);
  const auto [name, hash] = GENERATE(table<std::string, std::uint64_t>({
      {"q4_0", 0x47833542edb68854u},
      {"q4_1", 0x51e2c73103aa7efeu},
      {"q5_0", 0x9fa7591629c14413u},
      {"q5_1", 0x584a3799b2cae4deu},
      {"q8_0", 0x6f36a741c5a7c87eu},
      {"mxfp4-ggml", 0x444c0dec05b96420u},
      {"nvfp4-ggml", 0xbd04b8c5174796b9u},
  }));
  CAPTURE(name, name_of(which));
  REQUIRE(golden_hash(encode(name, ggml_source(), which).bytes.each[0]) == hash);
}

TEST_CASE("int8 writes the compressed-tensors W8A8 bytes", "[golden][int8]") {
  const auto which = GENERATE(path::reference, path::simd);
  const auto made = encode("int8", bf16_source(), which);
  REQUIRE(golden_hash(made.bytes.each[0]) == 0x95a791ca13c0c91du);
  REQUIRE(at<std::uint16_t>(made.bytes.each[1], 0) == 0x3b01);
  REQUIRE(at<std::uint16_t>(made.bytes.each[1], 1) == 0x3b01);
  REQUIRE(at<std::uint16_t>(made.bytes.each[1], 2) == 0x3afe);
  REQUIRE(at<std::uint16_t>(made.bytes.each[1], 3) == 0x3afe);
}

TEST_CASE("fp8, nvfp4 and mxfp4 write the compressed-tensors bytes", "[golden][float]") {
  const auto which = GENERATE(path::reference, path::simd);
  CAPTURE(name_of(which));
  const auto fp8 = encode("fp8", bf16_source(), which);
  REQUIRE(golden_hash(fp8.bytes.each[0]) == 0xe67af2766faded5du);
  REQUIRE(at<std::uint16_t>(fp8.bytes.each[1], 0) == 0x3a12);
  REQUIRE(at<std::uint16_t>(fp8.bytes.each[1], 1) == 0x3a12);
  const auto nvfp4 = encode("nvfp4", bf16_source(), which);
  REQUIRE(at<std::uint32_t>(nvfp4.bytes.each[2], 0) == 0x46280000u);
  REQUIRE(golden_hash(nvfp4.bytes.each[1]) == 0xa6853f07252e444du);
  REQUIRE(golden_hash(nvfp4.bytes.each[0]) == 0x27ebedd4c058afecu);
  const auto mxfp4 = encode("mxfp4", bf16_source(), which);
  REQUIRE(golden_hash(mxfp4.bytes.each[1]) == 0x55188133e47081a7u);
  REQUIRE(golden_hash(mxfp4.bytes.each[0]) == 0x9e29340193b34035u);
}

TEST_CASE("awq writes AutoAWQ's words, which a file holds transposed", "[golden][awq]") {
  const auto which = GENERATE(path::reference, path::simd);
  const auto made = encode("awq:rtn", bf16_source(), which);
  const auto transposed = [](const std::vector<std::byte>& plane, std::size_t element,
                             std::size_t cols) {
    std::vector<std::byte> out(plane.size());
    const auto rows = plane.size() / element / cols;
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < cols; ++c)
        std::memcpy(&out[(c * rows + r) * element], &plane[(r * cols + c) * element], element);
    return out;
  };
  const auto qweight = transposed(made.bytes.each[0], 4, 512);
  REQUIRE(at<std::uint32_t>(qweight, 0) == 0x77777880u);
  REQUIRE(golden_hash(qweight) == 0x6b23fd0e914cfebbu);
  REQUIRE(golden_hash(transposed(made.bytes.each[1], 2, 4)) == 0x72e627a42543f79cu);
  REQUIRE(golden_hash(transposed(made.bytes.each[2], 4, 4)) == 0x6ae491e4a1bf878eu);
}

TEST_CASE("awq rounds a group's width to f16 before it divides, as AutoAWQ's tensors of f16 do",
          "[golden][awq]") {
  const auto which = GENERATE(path::reference, path::simd);
  std::vector<float> values(8 * 128);
  values[0] = 1998 * 0x1p-13f, values[1] = -1997 * 0x1p-13f; // 3995 needs 12 bits: 3996
  const auto made = encode("awq:rtn", make_tensor(values, dtype::f16, 8, 128), which);
  REQUIRE(at<std::uint16_t>(made.bytes.each[1], 0) == f16_from_f32(1066 * 0x1p-15f));
}

TEST_CASE("llm-int8 writes bitsandbytes' bytes", "[golden][int8]") {
  const auto which = GENERATE(path::reference, path::simd);
  const auto made = encode("llm-int8", bf16_source(), which);
  REQUIRE(golden_hash(made.bytes.each[0]) == 0x6b52eef0575a1cc8u);
  const std::uint32_t scb[4] = {0x3e800000, 0x3e800000, 0x3e7d0000, 0x3e7d0000};
  for (std::size_t r = 0; r < 4; ++r)
    REQUIRE(at<std::uint32_t>(made.bytes.each[1], r) == scb[r]);
}

TEST_CASE("int4 writes the compressed-tensors W4A16 bytes", "[golden][int4]") {
  const auto which = GENERATE(path::reference, path::simd);
  const auto made = encode("int4", bf16_source(), which);
  REQUIRE(golden_hash(made.bytes.each[0]) == 0xeb6d3a35690364a4u);
  const std::uint32_t words[4] = {0xd9f888b1, 0xc589a5b5, 0x8e978938, 0xf8886188};
  const std::uint16_t scales[4] = {0x3d01, 0x3d09, 0x3d02, 0x3d07};
  for (std::size_t i = 0; i < 4; ++i) {
    REQUIRE(at<std::uint32_t>(made.bytes.each[0], i) == words[i]);
    REQUIRE(at<std::uint16_t>(made.bytes.each[1], i) == scales[i]);
  }
}

TEST_CASE("int4:asym writes the compressed-tensors W4A16 bytes with zero points",
          "[golden][int4]") {
  const auto which = GENERATE(path::reference, path::simd);
  const auto made = encode("int4:asym", bf16_source(), which);
  REQUIRE(golden_hash(made.bytes.each[0]) == 0x064dcf4935cb652fu);
  REQUIRE(golden_hash(made.bytes.each[2]) == 0x3726c48baf493c9bu);
  const std::uint32_t zeros[4] = {0x77787877, 0x88778877, 0x77888788, 0x77888787};
  for (std::size_t i = 0; i < 4; ++i)
    REQUIRE(at<std::uint32_t>(made.bytes.each[2], i) == zeros[i]);
}

TEST_CASE("nf4 writes bitsandbytes' bytes", "[golden][nf4]") {
  const auto which = GENERATE(path::reference, path::simd);
  const auto made = encode("nf4", bf16_source(), which);
  REQUIRE(golden_hash(made.bytes.each[0]) == 0x4f014748615eaa1bu);
  REQUIRE(golden_hash(made.bytes.each[1]) == 0xaa914751964fdb11u);
  REQUIRE(made.bytes.each[1].size() == 512 * 4);
}

TEST_CASE("nf4-dq writes bitsandbytes' bytes", "[golden][nf4-dq]") {
  const auto which = GENERATE(path::reference, path::simd);
  const auto made = encode("nf4-dq", bf16_source(), which);
  REQUIRE(bits_of(made.numbers.values[0]) == 0x3e740c00u);
  REQUIRE(golden_hash(made.bytes.each[0]) == 0x4f014748615eaa1bu);
  REQUIRE(golden_hash(made.bytes.each[1]) == 0x40de05eabf90d2c1u);
  REQUIRE(at<std::uint32_t>(made.bytes.each[2], 0) == 0x3d343000u);
  REQUIRE(at<std::uint32_t>(made.bytes.each[2], 1) == 0x3d543000u);
}

TEST_CASE("the tables of nf4 are those that bitsandbytes writes into files", "[golden][nf4]") {
  const std::uint32_t levels[16] = {0xbf800000, 0xbf3239b1, 0xbf066b30, 0xbeca32a0,
                                    0xbe91a24d, 0xbe3d353f, 0xbdba7871, 0x00000000,
                                    0x3da2faff, 0x3e24cae3, 0x3e7c04dd, 0x3ead033a,
                                    0x3ee1a4b8, 0x3f1007ab, 0x3f3913b3, 0x3f800000};
  const std::uint32_t thresholds[15] = {0xbf591cd8, 0xbf1c5270, 0xbeeb8480, 0xbeadea76, 0xbe703cec,
                                        0xbe0d38bc, 0xbd3a7871, 0x3d22faff, 0x3df64862, 0x3e5067e0,
                                        0x3e9582d4, 0x3ec753f9, 0x3f006d04, 0x3f248daf, 0x3f5c89da};
  for (std::size_t i = 0; i < 16; ++i)
    REQUIRE(bits_of(nf4::levels[i]) == levels[i]);
  for (int i = 0; i < 15; ++i)
    REQUIRE(bits_of(nf4::threshold(i)) == thresholds[i]);
  const auto& map = nf4_dq::dynamic_map();
  REQUIRE(golden_hash(map.data(), sizeof map) == 0xc4d39f458f1a3fbeu);
}

} // namespace viva::kernels::testing
