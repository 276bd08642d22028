#include "tests/support/catch.hpp"
#include "tests/support/sanitized.hpp"

#include "formats/json.hpp"

#include <ctime>

using namespace viva;
using namespace viva::formats;

namespace {

template <class Json>
Json parsed(const std::string& text) {
  auto result = parse_object<Json>(text, "x.json");
  if (!result)
    FAIL(result.error().text);
  return std::move(*result);
}

std::string refusal(const std::string& text) {
  const auto result = parse_object<nlohmann::json>(text, "x.json");
  REQUIRE_FALSE(result);
  CHECK(result.error().code == errc::malformed);
  return result.error().text;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string nested(int depth) { // objects, the outermost counts
  std::string text = "1";
  for (int i = 0; i < depth; ++i)
    text = "{\"x\":" + text + "}";
  return text;
}

} // namespace

TEST_CASE("json: values of every kind, in any nesting, are what the library's parser makes") {
  const std::string text = R"({"z":null,"a":[true,false,[],{},[[1]],{"":""}],"n":[-1,0,1,)"
                           R"(18446744073709551615,-9223372036854775808,1e400e,0.1,-0.0],)"
                           R"("s":"\u0000\ud83d\ude00\"","o":{"b":{"c":[{"d":1},{"d":2}]},"a":3}})";
  auto good = text;
  good.erase(good.find("1e400e,"), 7);
  CHECK(parsed<nlohmann::json>(good) == nlohmann::json::parse(good));
  const auto ordered = parsed<nlohmann::ordered_json>(good);
  CHECK(ordered == nlohmann::ordered_json::parse(good));
  CHECK(ordered.dump() == nlohmann::ordered_json::parse(good).dump()); // the keys' order, too
  CHECK(has(refusal(text), "no valid JSON"));
}

TEST_CASE("json: doubled keys, deep nesting and what is no object are refused") {
  CHECK(has(refusal(R"({"a":1,"b":{"c":1,"c":2}})"), "'c' twice"));
  CHECK(parsed<nlohmann::json>(R"({"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]})").size() == 2);
  CHECK(parsed<nlohmann::json>(nested(128)).size() == 1);
  CHECK(has(refusal(nested(129)), "128 deep"));
  CHECK(has(refusal("{\"x\":" + std::string(100'000, '[')), "128 deep"));
  for (const auto* text : {"[]", "1", "\"x\"", "null"})
    CHECK(has(refusal(text), "must be one JSON object"));
  for (const auto* text : {"", "{", "{}x", "{\"a\":}", "{\"a\":\"\xff\"}", "{'a':1}", "{}{}"})
    CHECK(has(refusal(text), "no valid JSON"));
}

TEST_CASE("json: an object of very many members takes time in proportion") {
  const std::size_t count = tests::sized(200'000, 50'000);
  std::string text = "{";
  for (std::size_t i = 0; i < count; ++i)
    text += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":{\"shape\":[1,2],\"dtype\":\"F32\"}";
  text += "}";
  // Below a second of this process; a walk of all siblings at each member would take minutes.
  const auto began = std::clock();
  CHECK(parsed<nlohmann::json>(text).size() == count);
  CHECK(parsed<nlohmann::ordered_json>(text).size() == count);
  CHECK((std::clock() - began) / CLOCKS_PER_SEC < 20);
}
