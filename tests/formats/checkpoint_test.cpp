#include "tests/formats/files.hpp"
#include "tests/support/catch.hpp"

#include "formats/checkpoint.hpp"

using namespace viva;
using namespace viva::formats;
using namespace viva::formats::testing;

namespace {

const std::string one = file_of({tensor("a.weight", "F32", {2, 2})});
const std::string two = file_of({tensor("b.weight", "F32", {2, 2})});
const std::string index_name = "model.safetensors.index.json";

std::string index_of(const std::string& map) {
  return "{\"metadata\":{\"total_size\":32},\"weight_map\":{" + map + "}}";
}

/// A folder of two shards with its index.
void put_sharded(const temporary_folder& folder, const std::string& map) {
  put(folder / "model-00001-of-00002.safetensors", one);
  put(folder / "model-00002-of-00002.safetensors", two);
  put(folder / index_name, index_of(map));
}

const std::string good_map = R"("a.weight":"model-00001-of-00002.safetensors",)"
                             R"("b.weight":"model-00002-of-00002.safetensors")";

void check_refused(const temporary_folder& folder, errc code, const std::string& says) {
  const auto opened = open_checkpoint(folder.path());
  REQUIRE_FALSE(opened);
  INFO(opened.error().text);
  CHECK(opened.error().code == code);
  CHECK(has(opened.error().text, says));
}

} // namespace

TEST_CASE("checkpoint: a single file is its own root and has nothing beside it") {
  const temporary_folder folder;
  put(folder / "config.json", "{}");
  const auto opened = open_checkpoint(put(folder / "x.safetensors", one));
  REQUIRE(opened);
  CHECK_FALSE(opened->folder);
  CHECK(opened->files.size() == 1);
  CHECK(opened->others.empty());
  CHECK(opened->config.empty());
}

TEST_CASE("checkpoint: a folder brings its config and other files, but no other weights") {
  const temporary_folder folder;
  put(folder / "model.safetensors", one);
  put(folder / "config.json", "{\"x\":1}");
  put(folder / "1_Pooling/config.json", "{}");
  for (const char* name : {"tokenizer.json", "vocab.txt"})
    put(folder / name, "x");
  for (const char* name : {"pytorch_model.bin", "x.gguf", "old.partial", "out.journal", ".hidden",
                           "original/consolidated.00.pth", "original/params.json",
                           "extra.safetensors", "out.partial/config.json"})
    put(folder / name, "x");
  const auto opened = open_checkpoint(folder.path());
  REQUIRE(opened);
  CHECK(opened->folder);
  CHECK(opened->config == "{\"x\":1}");
  CHECK(opened->index.empty());
  CHECK(opened->others
        == std::vector<std::filesystem::path>{"1_Pooling/config.json", "config.json",
                                              "tokenizer.json", "vocab.txt"});
}

TEST_CASE("checkpoint: the shards of an index are opened in the order of their names") {
  const temporary_folder folder;
  put_sharded(folder, good_map);
  put(folder / "consolidated.safetensors", "left out by engines too");
  const auto opened = open_checkpoint(folder.path());
  REQUIRE(opened);
  REQUIRE(opened->files.size() == 2);
  CHECK(opened->files[0].name == "model-00001-of-00002.safetensors");
  CHECK(opened->index == index_name);
}

TEST_CASE("checkpoint: what index and files disagree on is refused by name") {
  const temporary_folder folder;
  SECTION("a file that is missing") {
    put_sharded(folder, good_map + R"(,"c.weight":"model-00003-of-00003.safetensors")");
    check_refused(folder, errc::unreadable,
                  "'model-00003-of-00003.safetensors', which is not there");
  }
  SECTION("a tensor that is missing") {
    put_sharded(folder, good_map + R"(,"c.weight":"model-00001-of-00002.safetensors")");
    check_refused(folder, errc::malformed, "tensor 'c.weight': is missing");
  }
  SECTION("a tensor that only the file knows") {
    put_sharded(folder, good_map);
    put(folder / "model-00002-of-00002.safetensors",
        file_of({tensor("b.weight", "F32", {2, 2}), tensor("c", "F32", {1})}));
    check_refused(folder, errc::malformed, "tensor 'c': the index says it is in no file");
  }
  SECTION("a tensor in two files") {
    put_sharded(folder, good_map);
    put(folder / "model-00002-of-00002.safetensors",
        file_of({tensor("b.weight", "F32", {2, 2}), tensor("a.weight", "F32", {1})}));
    check_refused(folder, errc::malformed, "tensor 'a.weight': is in");
  }
  SECTION("a tensor in another file than the index says") {
    put_sharded(folder, R"("a.weight":"model-00002-of-00002.safetensors",)"
                        R"("b.weight":"model-00001-of-00002.safetensors")");
    check_refused(folder, errc::malformed, "the index says it is in 'model-00002");
  }
}

TEST_CASE("checkpoint: an index cannot lead out of its folder") {
  for (const char* name : {"../x.safetensors", "/etc/passwd", "..", "sub/x.safetensors", "",
                           "x.bin", "x\\u0000.safetensors"}) {
    const temporary_folder folder;
    put_sharded(folder, "\"a.weight\":\"" + std::string(name) + "\"");
    check_refused(folder, errc::malformed, "no plain *.safetensors name");
  }
}

TEST_CASE("checkpoint: an index that is no index is refused") {
  for (const std::string text : {"", "{", "[]", "{}", R"({"weight_map":[]})",
                                 R"({"weight_map":{}})", R"({"weight_map":{"a":1}})"}) {
    const temporary_folder folder;
    put(folder / index_name, text);
    check_refused(folder, errc::malformed, "index");
  }
  const temporary_folder folder;
  put_sharded(folder, R"("a.weight":"x.safetensors","a.weight":"y.safetensors")");
  check_refused(folder, errc::malformed, "'a.weight' twice");
  put(folder / index_name, "{\"x\":" + std::string(5000, '[') + std::string(5000, ']') + "}");
  check_refused(folder, errc::malformed, "128 deep");
}

TEST_CASE("checkpoint: a folder whose weights are ambiguous or missing is refused") {
  const temporary_folder folder;
  check_refused(folder, errc::unreadable, "holds no *.safetensors");
  put(folder / "a.safetensors", one);
  CHECK(open_checkpoint(folder.path())->files.front().name == "a.safetensors");
  put(folder / "b.safetensors", two);
  check_refused(folder, errc::unreadable, "several");
  put_sharded(folder, good_map);
  CHECK(open_checkpoint(folder.path()));
  put(folder / "model.safetensors", one);
  check_refused(folder, errc::malformed, "both model.safetensors and an index");
}
