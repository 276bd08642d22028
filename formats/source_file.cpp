#include "formats/source_file.hpp"

#include "formats/shown.hpp"

#include <cerrno>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace viva::formats {

namespace {

std::string why(int code) {
  return std::generic_category().message(code);
}

} // namespace

source_file::source_file(std::filesystem::path path, int descriptor, std::uint64_t bytes)
    : x_path(std::move(path)), x_descriptor(descriptor), x_bytes(bytes) {}

source_file::source_file(source_file&& other) noexcept
    : x_path(std::move(other.x_path)), x_descriptor(std::exchange(other.x_descriptor, -1)),
      x_bytes(other.x_bytes) {}

source_file::~source_file() {
  if (x_descriptor >= 0)
    ::close(x_descriptor);
}

expected<source_file> source_file::open(const std::filesystem::path& path) {
  // O_NONBLOCK: a named pipe answers at once and is refused below.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0)
    return fail(errc::unreadable, shown(path) + ": cannot open: " + why(errno)
                                      + "; check the path and its permissions");
  source_file file(path, descriptor, 0);
  struct stat found {};
  if (::fstat(descriptor, &found) != 0)
    return fail(errc::unreadable, shown(path) + ": cannot ask for its size: " + why(errno));
  if (!S_ISREG(found.st_mode))
    return fail(errc::unreadable, shown(path) + ": is no regular file; name a file");
  file.x_bytes = static_cast<std::uint64_t>(found.st_size);
  return file;
}

expected<std::string> source_file::read(std::uint64_t offset, std::uint64_t count) const {
  if (offset > x_bytes || count > x_bytes - offset)
    return fail(errc::unreadable, shown(x_path) + ": ends at byte " + std::to_string(x_bytes)
                                      + ", before the " + std::to_string(count) + " bytes at "
                                      + std::to_string(offset) + "; copy or download it again");
  std::string bytes(count, '\0');
  for (std::uint64_t done = 0; done < count;) {
    const auto got =
        ::pread(x_descriptor, bytes.data() + done, count - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      return fail(errc::unreadable, shown(x_path) + ": cannot read at byte "
                                        + std::to_string(offset + done) + ": "
                                        + (got < 0 ? why(errno) : "the file became shorter"));
    done += static_cast<std::uint64_t>(got);
  }
  return bytes;
}

expected<std::string> read_text(const std::filesystem::path& path, std::uint64_t bytes_max) {
  const auto file = source_file::open(path);
  if (!file)
    return tl::unexpected(file.error());
  if (file->bytes() > bytes_max)
    return fail(errc::malformed, shown(path) + ": has " + std::to_string(file->bytes())
                                     + " bytes; a file of this kind has at most "
                                     + std::to_string(bytes_max));
  return file->read(0, file->bytes());
}

} // namespace viva::formats
