#include "cli/paths.hpp"
#include "cli/report.hpp"

#include "tests/support/catch.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

#include <unistd.h>

using namespace viva;
using namespace viva::cli;

namespace {

job_report sample() {
  job_report report;
  report.job = "quantize";
  report.output = "out";
  report.layout = "bitsandbytes";
  report.source_bytes = 4000;
  report.output_bytes = 1000;
  report.seconds = 2;
  report.meters.lanes.resize(2);
  for (const auto* name : {"worst.weight", "middle.weight", "best.weight"}) {
    tensor_report tensor;
    tensor.name = name;
    tensor.method = "nf4";
    tensor.dtype = "BF16";
    tensor.shape = {8, 64};
    tensor.bits_per_weight = 4.5;
    tensor.errors = kernels::metrics{};
    tensor.errors->snr_db = 20.5;
    report.tensors.push_back(tensor);
  }
  report.tensors[2].errors->snr_db = std::numeric_limits<double>::infinity();
  tensor_report copy;
  copy.name = "norm.weight";
  copy.method = "copy";
  report.tensors.push_back(copy);
  return report;
}

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

struct scratch_folder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("viva_report_" + std::to_string(::getpid()));
  scratch_folder() {
    std::filesystem::create_directories(path);
  }
  ~scratch_folder() {
    std::filesystem::remove_all(path);
  }
};

std::string text_in(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

} // namespace

TEST_CASE("report: the table keeps the worst rows and counts the hidden ones", "[cli]") {
  const auto text = text_report(sample(), {}, 2);
  CHECK(holds(text, "worst.weight"));
  CHECK(holds(text, "middle.weight"));
  CHECK_FALSE(holds(text, "best.weight"));
  CHECK(holds(text, "... 1 more"));
  CHECK_FALSE(holds(text_report(sample(), {}, 0), "more"));
}

TEST_CASE("report: totals say compression, rate, lanes and where the output is", "[cli]") {
  const auto text = text_report(sample(), {}, 0);
  CHECK(holds(text, "4.00 x smaller"));
  CHECK(holds(text, "on 2 lanes"));
  CHECK(holds(text, "3 worked on, 1 copied"));
  CHECK(holds(text, "output   out\n"));
}

TEST_CASE("report: a dry run claims no time and no output", "[cli]") {
  verdict said;
  said.dry_run = true;
  const auto text = text_report(sample(), said, 0);
  CHECK(holds(text, "(not written)"));
  CHECK_FALSE(holds(text, "GB/s"));
}

TEST_CASE("report: the JSON holds every tensor, and an infinite SQNR is null", "[cli]") {
  const auto document = json_report(sample(), {});
  REQUIRE(document["tensors"].size() == 4);
  CHECK(document["tensors"][0]["errors"]["sqnr_db"] == 20.5);
  CHECK(document["tensors"][2]["errors"]["sqnr_db"].is_null());
  CHECK(document["tensors"][3]["errors"].is_null());
  CHECK(document["totals"]["compression"] == 4.0);
  CHECK(document["totals"]["bytes_per_second"] == 2000.0);
}

TEST_CASE("report: the file's name chooses between JSON and Markdown", "[cli]") {
  const scratch_folder folder;
  REQUIRE(write_report(folder.path / "r.json", sample(), {}));
  CHECK(nlohmann::json::parse(text_in(folder.path / "r.json"))["job"] == "quantize");
  REQUIRE(write_report(folder.path / "r.md", sample(), {}));
  CHECK(holds(text_in(folder.path / "r.md"), "| best.weight | nf4 | 8x64 |"));
}

TEST_CASE("report: a place where no report can lie is refused before any work", "[cli]") {
  const scratch_folder folder;
  CHECK(check_report_path(folder.path / "r.json", {}));
  const auto refused = check_report_path(folder.path / "missing" / "r.json", {});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::cannot_write);
  CHECK_FALSE(check_report_path(folder.path, {}));
}

TEST_CASE("report: a long name keeps its end and no half character", "[cli]") {
  auto report = sample();
  report.tensors[0].name.clear();
  for (int i = 0; i < 40; ++i)
    report.tensors[0].name += "\xc3\xa4";
  report.tensors[0].name += "xx";
  CHECK(holds(text_report(report, {}, 1), "...\xc3\xa4\xc3\xa4"));
  CHECK(holds(text_report(report, {}, 0), report.tensors[0].name));
}

TEST_CASE("report: what compare could not compare is not counted as compared", "[cli]") {
  auto report = sample();
  report.job = "compare";
  report.tensors[1].errors.reset();
  report.tensors[1].note = "missing in 'b'";
  CHECK(holds(text_report(report, {}, 0), "2 compared, 2 not"));
}

TEST_CASE("report: failed gates name three tensors and count the rest", "[cli]") {
  const std::vector gates{parse_gate("sqnr_db<30").value()};
  verdict said;
  said.gates = gates;
  for (const auto* name : {"a", "b", "c", "d", "e"})
    said.failed.push_back({"sqnr_db<30", name, 20, {}});
  CHECK(gate_text(said) == "gate sqnr_db<30 holds for a (20), b (20), c (20) and 2 more");
}
