#include "kernels/error.hpp"

#include <cstddef>
#include <iterator>

namespace viva {

std::string_view to_string(errc code) noexcept {
  static constexpr std::string_view names[] = {
      "ok",
      "bad_option",
      "unknown_method",
      "unsupported",
      "output_exists",
      "output_is_source",
      "fingerprint_mismatch",
      "over_budget",
      "unreadable",
      "malformed",
      "bad_shape",
      "not_finite",
      "cannot_write",
      "disk_full",
      "job_failed",
      "fault",
      "timed_out",
      "gate_failed",
      "interrupted",
  };
  static_assert(std::size(names) == static_cast<std::size_t>(errc::interrupted) + 1);
  const auto index = static_cast<std::size_t>(code);
  return index < std::size(names) ? names[index] : "unknown";
}

} // namespace viva
