#include "cli/exit_code.hpp"

#include "tests/support/catch.hpp"

using namespace viva;
using namespace viva::cli;

TEST_CASE("exit codes: every error has the code that the README promises", "[cli]") {
  struct row {
    errc code;
    int exits;
  };
  const row rows[] = {
      {errc::ok, 0},
      {errc::bad_option, 2},
      {errc::unknown_method, 2},
      {errc::unsupported, 2},
      {errc::output_exists, 2},
      {errc::output_is_source, 2},
      {errc::fingerprint_mismatch, 2},
      {errc::over_budget, 2},
      {errc::unreadable, 3},
      {errc::malformed, 3},
      {errc::bad_shape, 3},
      {errc::not_finite, 3},
      {errc::cannot_write, 5},
      {errc::disk_full, 5},
      {errc::job_failed, 1},
      {errc::fault, 1},
      {errc::timed_out, 1},
      {errc::gate_failed, 4},
      {errc::interrupted, 130},
  };
  // The rows are in the enumeration's order and leave none out.
  for (std::size_t i = 0; i < std::size(rows); ++i) {
    INFO(to_string(rows[i].code));
    CHECK(static_cast<std::size_t>(rows[i].code) == i);
    CHECK(static_cast<int>(exit_code_of(rows[i].code)) == rows[i].exits);
  }
  CHECK(static_cast<std::size_t>(errc::interrupted) + 1 == std::size(rows));
}
