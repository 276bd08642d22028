// Which devices work on a job: what was said against what is here.

#include "cli/backend.hpp"
#include "tests/cli/program.hpp"
#include "tests/support/catch.hpp"

using namespace viva;
using namespace viva::cli;

namespace {

kernels::device_census devices(int count) {
  kernels::device_census found;
  for (int i = 0; i < count; ++i)
    found.devices.push_back({i, "made up", 9, 0, 132, 1ull << 37});
  if (count == 0)
    found.why = "no driver; install one";
  return found;
}

device_choice chosen(std::string_view backend, std::string_view listed, int count) {
  auto made = choose_devices(backend, listed, devices(count));
  INFO(backend << " " << listed << " of " << count);
  REQUIRE(made);
  return std::move(*made);
}

std::string refused(std::string_view backend, std::string_view listed, int count) {
  const auto made = choose_devices(backend, listed, devices(count));
  INFO(backend << " " << listed << " of " << count);
  REQUIRE_FALSE(made);
  CHECK(made.error().code == errc::bad_option);
  return made.error().text;
}

} // namespace

TEST_CASE("backend: auto and cuda take all devices, or those listed; cpu takes none") {
  CHECK(chosen("cpu", "", 2).devices.empty());
  for (const auto* backend : {"auto", "cuda"}) {
    CHECK(chosen(backend, "", 2).devices == std::vector{0, 1});
    CHECK(chosen(backend, "1", 2).devices == std::vector{1});
    CHECK(chosen(backend, "1,0", 2).devices == std::vector{1, 0});
    CHECK(chosen(backend, "", 2).warning.empty());
  }
}

TEST_CASE("backend: without a device the processor does all, and who asked for one is told why") {
  CHECK(chosen("auto", "", 0).warning.empty());
  for (const auto& made :
       {chosen("cuda", "", 0), chosen("cuda", "0,1", 0), chosen("auto", "0", 0)}) {
    CHECK(made.devices.empty());
    CHECK(made.warning.find("the processor does all: no driver; install one") != std::string::npos);
  }
}

TEST_CASE("backend: what makes no sense is refused, and the words say what would") {
  CHECK(refused("cuda", "2", 2).find("no device 2; viva info lists 0 to 1") != std::string::npos);
  CHECK(refused("cpu", "0", 1).find("--backend cuda") != std::string::npos);
  for (const auto* listed : {"x", "0,", ",0", "0,,1", "0,0", "-1", "0 1", "1e3", "99999999999"})
    CHECK(refused("cuda", listed, 2).find("as 0,1 is") != std::string::npos);
}

TEST_CASE("backend: viva info says what was built, what is here, and what has run on no hardware") {
  const auto said = tests::viva({"info"});
  CHECK(said.code == 0);
  const auto holds = [&](const std::string& words) {
    INFO(words);
    CHECK(said.out.find(words) != std::string::npos);
  };
  holds(kernels::devices_built() ? "\ncuda      built in\n" : "\ncuda      not built in\n");
  const auto found = kernels::find_devices();
  holds(found.devices.empty() ? "\ndevice    none: " + found.why : "\ndevice    0: ");
  holds("and lanes that have a device (tests make devices up): none has run on hardware; "
        "bench/gpu.sh --out FOLDER would");
}
