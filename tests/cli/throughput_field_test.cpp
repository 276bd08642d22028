// What `viva bench throughput` counts by: one wrong byte of one result is found, a result that
// comes twice or not at all, and the processor's time of lanes that are processes.

#include "bench/child_time.hpp"
#include "bench/roll_call.hpp"
#include "bench/throughput_field.hpp"
#include "tests/support/catch.hpp"

#include <array>
#include <csignal>
#include <ctime>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

using namespace viva;
using bench::throughput_field;

TEST_CASE("throughput field: a byte of a result that is another one makes one wrong result") {
  constexpr std::uint64_t tensors = 40, values = 96;
  for (const auto* words : {"int8", "nf4", "q8_0", "sparse24"}) {
    INFO(words);
    const auto how = kernels::parse_recipe(words, dtype::f32).value();
    std::vector<std::byte> source(throughput_field::source_bytes_of(tensors, values) + 64);
    std::vector<std::byte> results(throughput_field::result_bytes_of(how, tensors, values) + 64);
    const auto from_64 = [](std::vector<std::byte>& in) {
      const auto past = reinterpret_cast<std::uintptr_t>(in.data()) % 64;
      return std::span(in).subspan((64 - past) % 64, in.size() - 64);
    };
    throughput_field field(how, tensors, values, 2, {from_64(source), from_64(results)});
    CHECK(field.wrong(tensors) == tensors); // wiped
    field.encode(0, tensors);
    CHECK(field.wrong(tensors) == 0);
    const auto map = map_planes(how, 1, values);
    for (std::size_t p = 0; p < map.count; ++p)
      for (const auto at : {std::uint64_t{0}, map.bytes[p] - 1}) {
        auto& byte = field.results()[17 * map.total + map.offset[p] + at];
        byte ^= std::byte{1};
        CHECK(field.wrong(tensors) == 1);
        CHECK(field.wrong(17) == 0);
        byte ^= std::byte{1};
      }
    CHECK(field.wrong(tensors) == 0);
    field.wipe(tensors);
    field.encode(0, 16);
    CHECK(field.wrong(16) == 0);
    CHECK(field.wrong(tensors) == tensors - 16);
  }
}

TEST_CASE("throughput: each number has to come once, and good") {
  bench::roll_call roll(130);
  CHECK(roll.wrong() == 130);
  for (std::uint64_t i = 0; i < 130; ++i)
    roll.note(129 - i, true);
  CHECK(roll.wrong() == 0);
  roll.note(64, true); // twice
  CHECK(roll.wrong() == 1);
  roll.note(130, true); // nobody's
  CHECK(roll.wrong() == 2);
  bench::roll_call bad(2);
  bad.note(0, false);
  bad.note(0, true); // too late
  bad.note(1, true);
  CHECK(bad.wrong() == 2);
}

namespace {

double processor_time() {
  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
}

/// Works until it has used so much, tells how much that was, and stays until it is killed.
[[noreturn]] void work_and_tell(double seconds, int to) {
  while (processor_time() < seconds) {
  }
  const auto used = processor_time();
  if (::write(to, &used, sizeof used) != sizeof used)
    ::_exit(1);
  for (;;)
    ::pause();
}

} // namespace

TEST_CASE("throughput: the processor's time of children is theirs and their children's") {
  std::array<int, 2> told{};
  REQUIRE(::pipe(told.data()) == 0);
  const auto before = bench::processor_seconds_of_children();
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::setpgid(0, 0);
    const pid_t other = ::fork(); // a child's child
    if (other < 0)
      ::_exit(1);
    work_and_tell(other == 0 ? 0.05 : 0.1, told[1]);
  }
  ::setpgid(child, child);
  ::close(told[1]); // or reading would not end with who writes
  double used = 0;
  for (int i = 0; i < 2; ++i) {
    double one = 0;
    CHECK(::read(told[0], &one, sizeof one) == sizeof one);
    used += one;
  }
  const auto seen = bench::processor_seconds_of_children() - before;
  ::kill(-child, SIGKILL);
  REQUIRE(::waitpid(child, nullptr, 0) == child);
  CHECK(used >= 0.15);
  CHECK(seen >= used - 0.02); // what a clock of the scheduler's is behind at most
  CHECK(seen <= used + 0.02);
  ::close(told[0]);
}
