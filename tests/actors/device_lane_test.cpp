// Lanes that have a device: together with those of the processor they give the same file, whatever
// becomes of the device. Devices here are made up (pretend_device.cpp); the processes are real.

#include "actors/device_engine.hpp"
#include "actors/device_health.hpp"
#include "supervision/reason.hpp"
#include "tests/actors/jobs.hpp"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/ringbuffer_sink.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <mutex>
#include <string_view>

using namespace viva;
using namespace viva::tests;
using actors::device_step;
using supervision::fault;

namespace {

enum device { honest, absent, wrong, sticky_at_once, sticky_too_late, short_of_memory, lost };

/// Counts warnings of devices that are not used any more where lanes can see it.
class counts_left final : public spdlog::sinks::base_sink<std::mutex> {
  void sink_it_(const spdlog::details::log_msg& line) override {
    const char* folder = std::getenv("VIVA_TEST_DEVICE");
    if (folder != nullptr
        && std::string_view(line.payload.data(), line.payload.size()).find("is not used any more")
             != std::string_view::npos)
      std::ofstream(fs::path(folder) / "left", std::ios::app) << 'x';
  }
  void flush_() override {
  }
};

/// Jobs with one device each, what they should come to, and what was warned of.
struct ground {
  temporary_folder folder;
  quantize_spec spec;
  std::shared_ptr<spdlog::sinks::ringbuffer_sink_mt> heard
    = std::make_shared<spdlog::sinks::ringbuffer_sink_mt>(256);
  std::shared_ptr<spdlog::logger> before = spdlog::default_logger();

  explicit ground(const std::string& method = "nf4") {
    const spdlog::sinks_init_list both{heard, std::make_shared<counts_left>()};
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("heard", both));
    spec = spec_for(synthesized(folder), folder / "whole", method);
    must(run_quantize(spec));
    spec.limits.lanes_are = isolation::process;
    spec.limits.lane_program = VIVA_TEST_PRETEND;
    spec.limits.shard_bytes_max = 64 << 10;
    spec.limits.memory_bytes_max = 4ull << 30;
  }
  ~ground() {
    ::unsetenv("VIVA_TEST_DEVICE");
    spdlog::set_default_logger(before);
  }
  /// Lanes of the processor wait until so many lives of the device's lane were asked, and of so
  /// many was warned.
  void count_in(const char* name, std::size_t wait, std::size_t wait_left = 0) {
    fs::create_directory(folder / name);
    std::ofstream(folder / name / "wait") << std::string(wait, 'x');
    std::ofstream(folder / name / "wait-left") << std::string(wait_left, 'x');
    ::setenv("VIVA_TEST_DEVICE", (folder / name).c_str(), 1);
  }
  std::uintmax_t counted(const char* what) const {
    std::error_code none;
    const auto size = fs::file_size(fs::path(std::getenv("VIVA_TEST_DEVICE")) / what, none);
    return none ? 0 : size;
  }
  job_report run(device which, std::size_t wait = 1, std::size_t wait_left = 0) {
    count_in("counts", wait, wait_left);
    spec.output = folder / "out";
    spec.limits.devices = {which};
    return must(run_quantize(spec));
  }
  bool whole() const {
    return bytes_of(folder / "out") == bytes_of(folder / "whole");
  }
  std::size_t warnings(const std::string& of) const {
    std::size_t found = 0;
    for (const auto& line : heard->last_formatted())
      found += line.find("is not used any more") != std::string::npos
               && line.find(of) != std::string::npos;
    return found;
  }
};

} // namespace

TEST_CASE("device lanes: with lanes of the processor they make the same file") {
  for (const auto* method : {"nf4", "int8-tensor", "q4_0", "sparse24", "nvfp4"}) {
    CAPTURE(method);
    ground here(method);
    const auto report = here.run(honest);
    CHECK(here.whole());
    CHECK(report.restarts == 0);
    CHECK(here.counted("lives") == 1);
    CHECK(here.counted("asked") > 0);
  }
}

TEST_CASE("device lanes: dequantize asks devices, too") {
  ground here;
  here.count_in("counts", 1);
  dequantize_spec back;
  back.source = here.folder / "whole";
  back.output = here.folder / "by-threads";
  back.limits.lanes = 2;
  must(run_dequantize(back));
  back.limits = here.spec.limits;
  back.limits.devices = {honest};
  back.output = here.folder / "by-device";
  must(run_dequantize(back));
  CHECK(here.counted("asked") > 0);
  CHECK(bytes_of(back.output) == bytes_of(here.folder / "by-threads"));
}

TEST_CASE("device lanes: beside lanes that are threads they are processes all the same") {
  ground here;
  here.spec.limits.lanes_are = isolation::thread;
  here.run(honest, 0);
  CHECK(here.whole());
}

TEST_CASE("device lanes: a sticky error ends the process, not the job, and a sick device is left") {
  for (const auto which : {sticky_at_once, sticky_too_late}) {
    CAPTURE(which);
    ground here;
    const auto report = here.run(which, actors::device_health::deaths_max);
    CHECK(here.whole());
    CHECK(here.counted("lives") == actors::device_health::deaths_max);
    CHECK(report.restarts == actors::device_health::deaths_max - 1);
    CHECK(here.warnings("device_sticky") == 1);
    CHECK(here.warnings("cuda-") == 1);
  }
}

TEST_CASE("device lanes: a shard on which two devices broke is the processor's, without one more") {
  ground here;
  here.spec.faults.sticky_at = 9;
  const auto report = here.run(honest, 0);
  CHECK(here.whole());
  CHECK(report.restarts == 2);
  CHECK(report.retries >= 2);
}

TEST_CASE("device lanes: one that has no memory costs nothing but its help") {
  ground here;
  const auto report = here.run(short_of_memory);
  CHECK(here.whole());
  CHECK(here.counted("asked") > 0);
  CHECK(here.counted("lives") == 1);
  CHECK(report.restarts == 0);
  CHECK(here.warnings("") == 0);
}

TEST_CASE("device lanes: no memory for one shard is the processor's turn, for this one alone") {
  ground here;
  here.spec.limits.lanes = 1;
  here.spec.faults.no_memory_at = 3;
  const auto report = here.run(honest);
  CHECK(here.whole());
  CHECK(report.restarts == 0);
}

TEST_CASE("device lanes: a device that is not there, or computes wrong, is told of once") {
  for (const auto which : {absent, wrong}) {
    CAPTURE(which);
    ground here;
    here.spec.limits.lanes = 1;
    here.spec.limits.shard_bytes_max = 16 << 10;
    here.spec.faults.throw_every = 97;
    here.run(which, 0, 1);
    CHECK(here.whole());
    CHECK(here.counted("asked") == 0);
    CHECK(here.counted("lives") == 1);
    CHECK(here.warnings("cuda-") == 1);
    CHECK(here.warnings("") == 1);
  }
}

TEST_CASE("device lanes: a device that is lost on the way is not used any more") {
  ground here;
  here.run(lost);
  CHECK(here.whole());
  CHECK(here.counted("lives") == 1);
  CHECK(here.warnings("device_lost") == 1);
}

TEST_CASE("device lanes: what follows from what a device answers") {
  using actors::next_step;
  CHECK(next_step(status{}, 700) == device_step::keep); // of something before: proved later
  for (const auto code : {errc::over_budget, errc::unsupported, errc::not_finite, errc::malformed})
    CHECK(next_step(status{code}, 700) == device_step::processor);
  CHECK(next_step(status{errc::fault}, 700) == device_step::end_sticky);
  CHECK(next_step(status{errc::fault}, 719) == device_step::end_sticky);
  CHECK(next_step(status{errc::fault}, 214) == device_step::end_lost);
  CHECK(next_step(status{errc::fault}, 46) == device_step::end_lost);
  CHECK(next_step(status{errc::fault}, 1) == device_step::processor); // refused: perhaps in passing
  CHECK(next_step(status{errc::fault}, 2) == device_step::processor);
  CHECK(next_step(0) == device_step::keep);
  CHECK(next_step(2) == device_step::keep);
  CHECK(next_step(700) == device_step::end_sticky);
  CHECK(next_step(220) == device_step::end_lost);
}

TEST_CASE("device lanes: a device gets another lane unless it is lost, or has broken in a row") {
  const auto why = [](fault code) { return supervision::make_error(code); };
  for (const auto code : {fault::device_lost, fault::misconfigured, fault::start_failed}) {
    actors::device_health health;
    CHECK(health.usable());
    CHECK(health.lane_ended(why(code)));
    CHECK_FALSE(health.usable());
    CHECK_FALSE(health.lane_ended(why(code))); // told once
  }
  actors::device_health health;
  for (int i = 0; i < 10; ++i) { // nobody's fault
    CHECK_FALSE(health.lane_ended(why(fault::killed)));
    CHECK_FALSE(health.lane_ended(why(fault::shutdown)));
    CHECK_FALSE(health.lane_ended({}));
  }
  for (int i = 0; i < 10; ++i) {
    CHECK_FALSE(health.lane_ended(why(fault::device_sticky)));
    CHECK_FALSE(health.lane_ended(why(fault::crash)));
    health.brought_batch_home();
  }
  CHECK(health.usable());
  CHECK_FALSE(health.lane_ended(why(fault::device_sticky)));
  CHECK_FALSE(health.lane_ended(why(fault::temporary)));
  CHECK(health.lane_ended(why(fault::start_timed_out)));
  CHECK_FALSE(health.usable());
}
