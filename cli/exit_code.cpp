#include "cli/exit_code.hpp"

namespace viva::cli {

exit_code exit_code_of(errc code) noexcept {
  switch (code) {
  case errc::ok:
    return exit_code::done;
  case errc::bad_option:
  case errc::unknown_method:
  case errc::unsupported:
  case errc::output_exists:
  case errc::output_is_source:
  case errc::fingerprint_mismatch:
  case errc::over_budget:
    return exit_code::usage;
  case errc::unreadable:
  case errc::malformed:
  case errc::bad_shape:
  case errc::not_finite:
    return exit_code::bad_input;
  case errc::cannot_write:
  case errc::disk_full:
    return exit_code::no_output;
  case errc::job_failed:
  case errc::fault:
  case errc::timed_out:
    return exit_code::job_failed;
  case errc::gate_failed:
    return exit_code::gate_failed;
  case errc::interrupted:
    return exit_code::interrupted;
  }
  return exit_code::job_failed;
}

} // namespace viva::cli
