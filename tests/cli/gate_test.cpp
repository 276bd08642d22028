#include "cli/gate.hpp"

#include "tests/support/catch.hpp"

#include <limits>

using namespace viva;
using namespace viva::cli;

namespace {

tensor_report tensor(std::string name, double snr_db, double bits = 4.5) {
  tensor_report result;
  result.name = std::move(name);
  result.method = "nf4";
  result.bits_per_weight = bits;
  result.errors = kernels::metrics{};
  result.errors->snr_db = snr_db;
  return result;
}

job_report three_tensors() {
  job_report report;
  report.tensors = {tensor("worst", 19), tensor("edge", 20), tensor("best", 21, 8)};
  tensor_report copy;
  copy.name = "norm";
  copy.method = "copy";
  copy.bits_per_weight = 16;
  report.tensors.push_back(copy);
  return report;
}

std::vector<std::string> failing(const char* text, const job_report& report) {
  const std::vector gates{parse_gate(text).value()};
  std::vector<std::string> names;
  for (const auto& each : failures(gates, report))
    names.push_back(each.tensor);
  return names;
}

using names = std::vector<std::string>;

} // namespace

TEST_CASE("gates: each operator draws its line on the right side of the bound", "[cli]") {
  const auto report = three_tensors();
  CHECK(failing("sqnr_db<20", report) == names{"worst"});
  CHECK(failing("sqnr_db<=20", report) == names{"worst", "edge"});
  CHECK(failing("sqnr_db>20", report) == names{"best"});
  CHECK(failing("sqnr_db>=20", report) == names{"edge", "best"});
}

TEST_CASE("gates: spaces do not matter and exponents are numbers", "[cli]") {
  const auto parsed = parse_gate(" max_error >= 1e-3 ");
  REQUIRE(parsed);
  CHECK(parsed->metric == "max_error");
  CHECK(parsed->how == relation::at_least);
  CHECK(parsed->bound == 1e-3);
  CHECK(parsed->text == "max_error >= 1e-3");
}

TEST_CASE("gates: copies are passed over, also for bits per weight", "[cli]") {
  CHECK(failing("bits_per_weight>6", three_tensors()) == names{"best"});
}

TEST_CASE("gates: a metric that is NaN fails whatever is asked of it", "[cli]") {
  job_report report;
  report.tensors = {tensor("broken", std::numeric_limits<double>::quiet_NaN())};
  CHECK(failing("sqnr_db<20", report) == names{"broken"});
  CHECK(failing("sqnr_db>20", report) == names{"broken"});
}

TEST_CASE("gates: a tensor without error passes any lower bound on its SQNR", "[cli]") {
  job_report report;
  report.tensors = {tensor("exact", std::numeric_limits<double>::infinity())};
  CHECK(failing("sqnr_db<100", report).empty());
}

TEST_CASE("gates: nonsense is refused with what would be right", "[cli]") {
  for (const auto* text : {"", "sqnr_db", "sqnr_db=20", "sqnr_db<", "sqnr_db<x", "sqnr_db<20dB",
                           "snr<20", "<20", "sqnr_db<nan", "sqnr_db<<20"}) {
    INFO(text);
    const auto parsed = parse_gate(text);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == errc::bad_option);
  }
  CHECK(parse_gate("snr<20").error().text.find("sqnr_db") != std::string::npos);
}

TEST_CASE("gates: a tensor without a counterpart fails every gate, with the reason", "[cli]") {
  job_report report;
  report.tensors = {tensor("here", 40)};
  tensor_report gone;
  gone.name = "gone";
  gone.note = "missing in 'b'";
  gone.unmatched = true;
  report.tensors.push_back(gone);
  CHECK(failing("sqnr_db<20", report) == names{"gone"});
  CHECK(failing("bits_per_weight>100", report) == names{"gone"});
  const std::vector gates{parse_gate("mse>1").value()};
  CHECK(failures(gates, report).at(0).why == gone.note);
}

TEST_CASE("gates: only bits per weight are known without measuring", "[cli]") {
  CHECK_FALSE(needs_errors(parse_gate("bits_per_weight>1").value()));
  CHECK(needs_errors(parse_gate("sqnr_db<1").value()));
  CHECK(needs_errors(parse_gate("not_finite>0").value()));
}
