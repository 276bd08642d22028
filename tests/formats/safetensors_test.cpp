#include "tests/formats/files.hpp"
#include "tests/support/catch.hpp"

#include "formats/safetensors.hpp"
#include "formats/shown.hpp"

#include <algorithm>
#include <iterator>
#include <rapidcheck.h>

#include <random>

using namespace viva;
using namespace viva::formats;
using namespace viva::formats::testing;

namespace {

/// Two tensors, as the reference writer writes them (formats.md section 9.6).
const std::string golden =
    word(0x90)
    + R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
      R"("a":{"dtype":"F16","shape":[2],"data_offsets":[4,8]}})"
    + std::string(6, ' ') + std::string("\x00\x00\x80\x3f\x00\x3c\x00\x40", 8);

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape
         + ",\"data_offsets\":" + offsets + "}";
}

struct malformed_case {
  const char* what;
  std::string bytes;
  const char* says; ///< A part of the error's text.
};

const std::string good = entry("a", "F32", "[2]", "[0,8]");

std::string object(const std::string& inside) {
  return "{" + inside + "}";
}

/// Lengths, JSON, ranges: what is wrong with a file as a whole.
std::vector<malformed_case> malformed_files() {
  return {
      {"an empty file", "", "too few"},
      {"seven bytes", "1234567", "too few"},
      {"a huge header", word(100'000'001) + "{}", "claims a header of 100000001"},
      {"a length of all ones", word(~0ull) + "{}", "claims a header"},
      {"a header past the end", word(3) + "{}", "has only 10"},
      {"a truncated golden file", golden.substr(0, golden.size() - 1), "tensors end at byte 160"},
      {"trailing bytes", golden + "x", "tensors end at byte 160"},
      {"no JSON", file_of("nonsense", 0), "no valid JSON"},
      {"an empty header", file_of("", 0), "no valid JSON"},
      {"a list", file_of("[]", 0), "must be one JSON object"},
      {"text after the object", file_of("{} x", 0), "no valid JSON"},
      {"bytes that are no UTF-8", file_of(object(entry("\xff", "F32", "[2]", "[0,8]")), 8),
       "UTF-8"},
      {"a hole", file_of(object(entry("a", "F32", "[2]", "[4,12]")), 12), "leave a hole after 0"},
      {"a hole between", file_of(object(good + "," + entry("b", "U8", "[1]", "[9,10]")), 10),
       "leave a hole after 8"},
      {"an overlap", file_of(object(good + "," + entry("b", "F32", "[2]", "[4,12]")), 12),
       "overlap the tensor before"},
      {"the same range twice", file_of(object(good + "," + entry("b", "F32", "[2]", "[0,8]")), 8),
       "overlap"},
      {"offsets backwards", file_of(object(entry("a", "F32", "[2]", "[8,0]")), 8), "run backwards"},
      {"offsets beyond 2^48",
       file_of(object(entry("a", "U8", "[281474976710656]", "[0,281474976710656]")), 8),
       "beyond 2^48"},
      {"offsets beyond the file", file_of(object(entry("a", "F32", "[4]", "[0,16]")), 8),
       "tensors end at byte"},
  };
}

/// What is wrong with one entry or its metadata.
std::vector<malformed_case> malformed_entries() {
  return {
      {"an unknown dtype", file_of(object(entry("a", "F7", "[2]", "[0,8]")), 8),
       "tensor 'a': has the unknown dtype 'F7'"},
      {"a size unlike the shape", file_of(object(entry("a", "F32", "[3]", "[0,8]")), 8),
       "ask for 12"},
      {"a shape beyond 64 bits",
       file_of(object(entry("a", "F32", "[4294967296,4294967296]", "[0,8]")), 8), "beyond 64 bits"},
      {"bits that are no whole bytes", file_of(object(entry("a", "F4", "[3]", "[0,1]")), 1),
       "no whole bytes"},
      {"a tensor twice", file_of(object(good + "," + entry("a", "F32", "[2]", "[8,16]")), 16),
       "two entries called 'a'"},
      {"metadata twice", file_of(object("\"__metadata__\":{},\"__metadata__\":{}," + good), 8),
       "two entries"},
      {"a metadata key twice",
       file_of(object("\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}," + good), 8), "'k' twice"},
      {"metadata that is no string", file_of(object("\"__metadata__\":{\"k\":1}," + good), 8),
       "only strings"},
      {"metadata that is no object", file_of(object("\"__metadata__\":\"x\"," + good), 8),
       "a string for '__metadata__'"},
      {"a tensor that is a number", file_of(object("\"a\":1"), 0), "a number for 'a'"},
      {"a key twice in a tensor",
       file_of(R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8),
       "'dtype' twice"},
      {"an unknown key",
       file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", 8),
       "unknown key 'x'"},
      {"no dtype", file_of(R"({"a":{"shape":[2],"data_offsets":[0,8]}})", 8), "has no dtype"},
      {"no shape", file_of(R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", 8), "has no shape"},
      {"no offsets", file_of(R"({"a":{"dtype":"F32","shape":[2]}})", 8), "has no data_offsets"},
      {"a negative extent", file_of(object(entry("a", "F32", "[-2]", "[0,8]")), 8), "negative"},
      {"an extent with a point", file_of(object(entry("a", "F32", "[2.0]", "[0,8]")), 8),
       "no integer"},
      {"an extent beyond 64 bits",
       file_of(object(entry("a", "F32", "[99999999999999999999]", "[0,8]")), 8), "no integer"},
      {"one offset", file_of(object(entry("a", "F32", "[2]", "[0]")), 8), "less than two"},
      {"three offsets", file_of(object(entry("a", "F32", "[2]", "[0,8,8]")), 8), "more than two"},
      {"a shape that is text", file_of(object(entry("a", "F32", "\"2\"", "[0,8]")), 8),
       "a string for 'shape'"},
      {"a dtype that is a list",
       file_of(R"({"a":{"dtype":["F32"],"shape":[2],"data_offsets":[0,8]}})", 8), "a list"},
      {"deep nesting", file_of("{\"a\":" + std::string(100'000, '['), 0), "a list for 'a'"},
      {"a null", file_of("{\"a\":null}", 0), "null for 'a'"},
  };
}

} // namespace

TEST_CASE("safetensors: the golden file is read as it was written") {
  const temporary_folder folder;
  const auto header = read_header(put(folder / "golden.safetensors", golden));
  REQUIRE(header);
  REQUIRE(header->tensors.size() == 2);
  CHECK(header->metadata == std::map<std::string, std::string>{{"format", "pt"}});
  CHECK(header->data_begin == 152);
  CHECK(header->file_bytes == 160);
  const auto& b = header->tensors[0];
  CHECK(b.name == "b");
  CHECK(b.dtype == "F32");
  CHECK(b.shape == std::vector<std::uint64_t>{1});
  CHECK(b.begin == 152);
  CHECK(b.end == 156);
  CHECK(header->tensors[1].name == "a");
  CHECK(header->tensors[1].begin == 156);
}

TEST_CASE("safetensors: a header is laid byte for byte as the reference writer lays it") {
  std::vector<tensor_entry> tensors = {tensor("a", "F16", {2}), tensor("b", "F32", {1})};
  CHECK(lay_header(tensors, {{"format", "pt"}}) == golden.substr(0, 152));
  CHECK(tensors[0].name == "b");
  CHECK(tensors[1].begin == 156);
}

TEST_CASE("safetensors: wider dtypes come first, then names in byte order") {
  std::vector<tensor_entry> tensors = {tensor("z", "BOOL", {1}), tensor("b", "BF16", {1}),
                                       tensor("a", "F16", {1}),  tensor("\xc3\xa9", "I64", {1}),
                                       tensor("Z", "I64", {}),   tensor("e", "U64", {0})};
  lay_header(tensors, {});
  std::string order;
  for (const auto& each : tensors)
    order += each.name + " ";
  CHECK(order == "e Z \xc3\xa9 b a z ");
}

TEST_CASE("safetensors: every malformed file is refused by name, with what is wrong") {
  const temporary_folder folder;
  auto all = malformed_files();
  std::ranges::move(malformed_entries(), std::back_inserter(all));
  for (const auto& each : all) {
    INFO(each.what);
    const auto header = read_header(put(folder / "bad.safetensors", each.bytes));
    REQUIRE_FALSE(header);
    INFO(header.error().text);
    CHECK(header.error().code == errc::malformed);
    CHECK(has(header.error().text, each.says));
    CHECK(has(header.error().text, "bad.safetensors"));
    CHECK(header.error().text.find('\n') == std::string::npos);
  }
}

TEST_CASE("safetensors: files that cannot be opened are unreadable") {
  const temporary_folder folder;
  CHECK(read_header(folder / "missing").error().code == errc::unreadable);
  CHECK(read_header(folder.path()).error().code == errc::unreadable);
}

TEST_CASE("safetensors: leading blanks, scalars and empty tensors are taken") {
  const temporary_folder folder;
  const auto json = "  {" + entry("s", "F32", "[]", "[0,4]") + ","
                    + entry("e", "F32", "[0,18446744073709551615]", "[4,4]") + "}   ";
  const auto header = read_header(put(folder / "x.safetensors", file_of(json, 4)));
  REQUIRE(header);
  CHECK(header->tensors[0].name == "s");
  CHECK(header->tensors[1].bytes() == 0);
}

TEST_CASE("safetensors: a name cannot command a terminal") {
  CHECK(shown(std::string_view("a\x1b[31m\n'\\")) == "'a\\x1b[31m\\x0a\\x27\\x5c'");
  CHECK(shown(std::string_view("\xc2\x9b")) == "'\\xc2\\x9b'");          // CSI as one character
  CHECK(shown(std::string_view("\xe2\x80\xae")) == "'\\xe2\\x80\\xae'"); // right-to-left override
  CHECK(shown(std::string_view("caf\xc3\xa9")) == "'caf\xc3\xa9'");
  CHECK(shown(std::string_view("\xff\xc3")) == "'\\xff\\xc3'");
  CHECK(shown(std::string_view("\xe0\x80\x9b")) == "'\\xe0\\x80\\x9b'"); // 1b spelled too long
  CHECK(printable("it's \x1b[2J\n\\ \xe2\x80\xa6") == "it's \\x1b[2J\\x0a\\ \xe2\x80\xa6");
  CHECK(printable(printable("\x07\\")) == "\\x07\\");
  const temporary_folder folder;
  const auto json = "{" + entry("\\u001b]0;x\\u0007", "F32", "[3]", "[0,8]") + "}";
  const auto header = read_header(put(folder / "x.safetensors", file_of(json, 8)));
  REQUIRE_FALSE(header);
  CHECK(has(header.error().text, "tensor '\\x1b]0;x\\x07'"));
}

TEST_CASE("safetensors: reading what was laid gives it back, whatever the tensors") {
  const temporary_folder folder;
  CHECK(rc::check("lay_header, then read_header", [&] {
    static const std::vector<std::string> dtypes = {"BOOL", "F4",  "U8",   "I8",  "F8_E4M3",
                                                    "I16",  "F16", "BF16", "I32", "F32",
                                                    "F64",  "I64", "U64"};
    std::vector<tensor_entry> tensors;
    const auto names = *rc::gen::unique<std::vector<std::string>>(
        rc::gen::container<std::string>(rc::gen::inRange<char>(1, 127)));
    for (const auto& name : names) {
      if (name == "__metadata__")
        continue;
      auto shape = *rc::gen::resize(
          3, rc::gen::container<std::vector<std::uint64_t>>(rc::gen::inRange<std::uint64_t>(0, 6)));
      auto dtype = *rc::gen::elementOf(dtypes);
      if (dtype == "F4")
        shape.push_back(2);
      tensors.push_back(tensor(name, dtype, shape));
    }
    const auto text = *rc::gen::container<std::string>(rc::gen::inRange<char>(1, 127));
    const std::map<std::string, std::string> metadata = {{"format", "pt"}, {"note", text}};
    auto laid = tensors;
    lay_header(laid, metadata);
    const auto read = read_header(put(folder / "laid.safetensors", file_of(tensors, metadata)));
    RC_ASSERT(bool(read));
    RC_ASSERT(read->metadata == metadata);
    RC_ASSERT(read->data_begin % 8 == 0u);
    RC_ASSERT(read->tensors.size() == laid.size());
    for (const auto& each : read->tensors) { // tensors of no bytes may change places
      const auto same = std::find_if(laid.begin(), laid.end(), [&](const tensor_entry& other) {
        return other.name == each.name;
      });
      RC_ASSERT(same != laid.end());
      RC_ASSERT(same->dtype == each.dtype);
      RC_ASSERT(same->shape == each.shape);
      RC_ASSERT(same->begin == each.begin);
      RC_ASSERT(same->end == each.end);
    }
  }));
}

TEST_CASE("safetensors: flipped bytes are refused or read, and never crash") {
  const temporary_folder folder;
  std::mt19937 random(7);
  std::size_t refused = 0;
  for (int round = 0; round < 3000; ++round) {
    auto bytes = golden;
    for (auto flips = random() % 4 + 1; flips > 0; --flips)
      bytes[random() % 152] = static_cast<char>(random());
    const auto header = read_header(put(folder / "fuzz.safetensors", bytes));
    refused += header ? 0u : 1u;
    if (!header) {
      CHECK_FALSE(header.error().text.empty());
      continue;
    }
    for (const auto& each : header->tensors)
      CHECK((each.begin >= header->data_begin && each.end <= header->file_bytes));
  }
  CHECK(refused > 2000);
}
