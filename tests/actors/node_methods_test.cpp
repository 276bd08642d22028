// The bytes of one lane by every method, from one, two, three and five nodes, that see the job's
// files and that do not.

#include "tests/actors/node_far.hpp"
#include "tests/actors/statistics_made.hpp"
#include "tests/support/sanitized.hpp"

using namespace viva;
using namespace viva::tests;

namespace {

/// Five of a kind, and how a job goes over some of them.
struct nodes_of_both_kinds {
  explicit nodes_of_both_kinds(const fs::path& root) {
    for (int i = 0; i < 5; ++i)
      near.push_back(std::make_unique<node_process>(root));
  }
  words flags(std::size_t count, bool same_files) const {
    return same_files ? words{"--nodes", first_of(near, count), "--shared-fs"}
                      : words{"--nodes", first_of(far, count)};
  }
  std::vector<std::unique_ptr<node_process>> near;
  far_node far[5];
};

const words one_lane{"--isolation", "thread", "--lanes", "1"};

nlohmann::json run(words command, const words& more) {
  if (command.front() != "quantize")
    command.insert(command.end(), {"--shard-bytes", "256KiB", "--json"});
  command.insert(command.end(), more.begin(), more.end());
  return report_of(viva::tests::viva(command));
}

} // namespace

TEST_CASE("nodes: every method gives the bytes of one lane over two and another number of them, "
          "that see the files and that do not") {
  const temporary_folder folder;
  const auto source = (folder / "source").string();
  REQUIRE(viva::tests::viva({"synth", source, "--size", "4MiB"}).code == 0);
  const nodes_of_both_kinds nodes(folder.path());
  const auto here = (folder / "here").string(), there = (folder / "there").string();
  constexpr std::size_t others[] = {1, 3, 5};
  std::size_t number = 0, turn = 0;
  for (const auto& method : kernels::methods()) {
    if (number++ % sized(1, 8) != 0)
      continue;
    run(quantize_by(method, source, here), one_lane);
    for (const bool same_files : {true, false})
      for (const auto count : {std::size_t{2}, others[turn++ % std::size(others)]}) {
        CAPTURE(method.name, same_files, count);
        run(quantize_by(method, source, there), nodes.flags(count, same_files));
        CHECK(files_in(here) == files_in(there));
        fs::remove_all(there);
      }
    fs::remove_all(here);
  }
}

TEST_CASE("nodes without the files: every method back and compared") {
  const temporary_folder folder;
  const auto source = (folder / "source").string(), here = (folder / "here").string();
  REQUIRE(viva::tests::viva({"synth", source, "--size", "4MiB"}).code == 0);
  const far_node all[5];
  std::size_t number = 0, ran = 0;
  for (const auto& method : kernels::methods()) {
    if (number++ % sized(1, 8) != 0)
      continue;
    const auto count = counts_of_nodes[ran++ % std::size(counts_of_nodes)];
    const words there{"--nodes", first_of(all, count)};
    CAPTURE(method.name, there);
    run(quantize_by(method, source, here), one_lane);
    CHECK(run({"compare", source, here}, there)["tensors"]
          == run({"compare", source, here}, one_lane)["tensors"]);
    run({"dequantize", here, "-o", here + "-back"}, one_lane);
    run({"dequantize", here, "-o", here + "-there"}, there);
    CHECK(files_in(here + "-back") == files_in(here + "-there"));
    for (const auto& each : {here, here + "-back", here + "-there"})
      fs::remove_all(each);
  }
}

TEST_CASE("nodes: a search, statistics beside the source, a single file, tensors kept, both ways") {
  const temporary_folder folder;
  const auto source = (folder / "source").string(), out = (folder / "out").string();
  REQUIRE(viva::tests::viva({"synth", source, "--size", "2MiB"}).code == 0);
  make_statistics(source, fs::path(source) / "inputs.statistics");
  const nodes_of_both_kinds nodes(folder.path());
  const words searches{"quantize", source, "-m", "awq:group=64", "--stats",
                       source + "/inputs.statistics"};
  const words jobs[] = {searches,
                        {"quantize", source + "/model.safetensors", "-m", "int8"},
                        {"quantize", source + "/", "-m", "nvfp4", "--on-nan", "keep"},
                        {"prune", source, "--compressed"}};
  for (const auto& job : jobs) {
    const auto make = [&](const words& more) {
      auto command = job;
      command.insert(command.end(), {"-o", out, "--shard-bytes", "64KiB", "--json"});
      command.insert(command.end(), more.begin(), more.end());
      report_of(viva::tests::viva(command));
      const auto made = fs::is_directory(out)
                          ? files_in(out)
                          : std::map<std::string, std::string>{{"", text_in(out)}};
      fs::remove_all(out);
      return made;
    };
    const auto truth = make({});
    for (const auto count : counts_of_nodes)
      for (const bool same_files : {true, false}) {
        CAPTURE(job, count, same_files);
        if (job == searches || count == 2)
          CHECK(make(nodes.flags(count, same_files)) == truth);
      }
  }
}
