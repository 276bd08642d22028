#pragma once

// Bytes of a file, all of them or an error that says whose file and where.

#include "actors/disk.hpp"

#include <cerrno>
#include <cstddef>
#include <span>
#include <string>

#include <unistd.h>

namespace viva::actors::node {

/// `who` as an error names it: "file 3 of the job".
inline expected<void> read_at(const descriptor& file, std::uint64_t at, std::span<std::byte> into,
                              const std::string& who) {
  while (!into.empty()) {
    const auto got = ::pread(file.get(), into.data(), into.size(), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return tl::make_unexpected(system_error("read at byte " + std::to_string(at), who, false));
    if (got == 0)
      return fail(errc::unreadable, who + ": ends at byte " + std::to_string(at)
                                      + ", before what should be read there");
    at += static_cast<std::uint64_t>(got);
    into = into.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

inline expected<void> write_at(const descriptor& file, std::uint64_t at,
                               std::span<const std::byte> from, const std::string& who) {
  while (!from.empty()) {
    const auto put = ::pwrite(file.get(), from.data(), from.size(), static_cast<off_t>(at));
    if (put < 0 && errno == EINTR)
      continue;
    if (put <= 0)
      return tl::make_unexpected(system_error("write at byte " + std::to_string(at), who, true));
    at += static_cast<std::uint64_t>(put);
    from = from.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

} // namespace viva::actors::node
