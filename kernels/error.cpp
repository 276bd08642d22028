#include "kernels/error.hpp"

namespace viva {

std::string_view to_string(errc code) noexcept {
  switch (code) {
    case errc::ok: return "ok";
    case errc::bad_option: return "bad_option";
    case errc::unknown_method: return "unknown_method";
    case errc::unsupported: return "unsupported";
    case errc::output_exists: return "output_exists";
    case errc::output_is_source: return "output_is_source";
    case errc::fingerprint_mismatch: return "fingerprint_mismatch";
    case errc::over_budget: return "over_budget";
    case errc::unreadable: return "unreadable";
    case errc::malformed: return "malformed";
    case errc::bad_shape: return "bad_shape";
    case errc::not_finite: return "not_finite";
    case errc::cannot_write: return "cannot_write";
    case errc::disk_full: return "disk_full";
    case errc::job_failed: return "job_failed";
    case errc::fault: return "fault";
    case errc::timed_out: return "timed_out";
    case errc::gate_failed: return "gate_failed";
    case errc::interrupted: return "interrupted";
  }
  return "unknown";
}

} // namespace viva
