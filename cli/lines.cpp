#include "cli/lines.hpp"

#include "cli/invocation.hpp"
#include "formats/shown.hpp"

#include <cerrno>
#include <cstring>

namespace viva::cli {

namespace {

tl::unexpected<error> unwritable(const std::string& name) {
  return fail(errno == ENOSPC ? errc::disk_full : errc::cannot_write,
              formats::shown(name) + ": cannot be written: " + std::strerror(errno)
                + "; name a file in an existing, writable folder");
}

} // namespace

expected<void> lines::open(const std::string& file) {
  x_name = file;
  if (file.empty())
    return {};
  x_file.open(file, std::ios::binary | std::ios::trunc);
  if (!x_file)
    return unwritable(file);
  return {};
}

void lines::show(std::string_view text) {
  if (x_done)
    x_done = print(text);
}

void lines::keep(std::string_view line) {
  if (!x_file.is_open() || !x_done)
    return;
  x_file << line << std::endl;
  if (!x_file)
    x_done = unwritable(x_name);
}

} // namespace viva::cli
