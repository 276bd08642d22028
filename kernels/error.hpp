#pragma once

// Errors: what was refused, and how a value or an error is returned.
//
// Kernels return a `status`; everything else that can fail returns `expected<T>`, whose error
// names file, tensor, position and remedy in one line. Nothing here throws. The exit code of
// each `errc` is in cli/exit_code.cpp and nowhere else.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <tl/expected.hpp>

namespace viva {

/// Why something was refused. The groups are those of the exit codes (README).
enum class errc : std::uint8_t {
  ok = 0,
  // usage (exit 2): the asker can mend it by asking differently
  bad_option,           ///< A flag, key or method option is unknown or out of range.
  unknown_method,       ///< No row of the registry has this name.
  unsupported,          ///< Known, but not for this tensor, layout or build.
  output_exists,        ///< The output is there already and nobody said --overwrite.
  output_is_source,     ///< Output and source are one file or folder, by whatever path.
  fingerprint_mismatch, ///< The journal on this output belongs to another job.
  over_budget,          ///< The job cannot run within --max-memory.
  // bad input (exit 3)
  unreadable, ///< Missing, not permitted, or the read failed.
  malformed,  ///< The bytes are not what the format says.
  bad_shape,  ///< A shape the method or layout cannot take.
  not_finite, ///< NaN or infinity where a number is needed.
  // output (exit 5)
  cannot_write, ///< Permission, read-only file system, write error.
  disk_full,    ///< No space for the output; known before any work where possible.
  // job (exit 1): the journal is kept and the same command resumes
  job_failed, ///< A shard failed on every attempt.
  fault,      ///< A lane died; retryable.
  timed_out,  ///< No answer in time; retryable.
  // others
  gate_failed, ///< A --fail-if gate did not hold (exit 4).
  interrupted, ///< Ctrl-C; resumable (exit 130).
};

/// The enumerator's own name, for logs and --json.
std::string_view to_string(errc code) noexcept;

/// True where running the same shard again may end differently.
constexpr bool retryable(errc code) noexcept {
  return code == errc::fault || code == errc::timed_out;
}

/// What a kernel answers. `position` is the flat index (row * cols + col, counted from the first
/// value it was given) of the first offending value, and means something only for `not_finite`.
struct [[nodiscard]] status {
  errc code = errc::ok;
  std::uint64_t position = 0;

  constexpr explicit operator bool() const noexcept {
    return code == errc::ok;
  }
  friend constexpr bool operator==(const status&, const status&) = default;
};

/// One line for a person: names file, tensor, position and remedy as far as they exist.
struct error {
  errc code = errc::ok;
  std::string text;
};

template <class T>
using expected = tl::expected<T, error>;

/// `return fail(errc::malformed, "…")` from any function that returns an `expected`.
inline tl::unexpected<error> fail(errc code, std::string text) {
  return tl::unexpected<error>(error{code, std::move(text)});
}

} // namespace viva
