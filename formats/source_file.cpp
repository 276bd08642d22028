#include "formats/source_file.hpp"

#include "formats/read_log.hpp"
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

thread_local read_log* log_of_thread = nullptr;

} // namespace

read_log::read_log(std::function<void()> on_read)
    : x_on_read(std::move(on_read)), x_outer(std::exchange(log_of_thread, this)) {
}

read_log::~read_log() {
  log_of_thread = x_outer;
}

void read_log::note(const std::filesystem::path& file, std::uint64_t bytes, std::uint64_t offset,
                    std::uint64_t count) {
  for (auto* log = log_of_thread; log != nullptr; log = log->x_outer) {
    if (log->x_on_read)
      log->x_on_read();
    auto& [whole, ranges] = log->x_seen[file];
    whole = bytes;
    if (!ranges.empty() && ranges.back().first + ranges.back().second == offset)
      ranges.back().second += count; // read on
    else if (count > 0)
      ranges.emplace_back(offset, count);
  }
}

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
  read_log::note(path, file.x_bytes, 0, 0); // that it is there matters, too
  return file;
}

expected<std::string> source_file::read(std::uint64_t offset, std::uint64_t count) const {
  if (offset > x_bytes || count > x_bytes - offset)
    return fail(errc::unreadable, shown(x_path) + ": ends at byte " + std::to_string(x_bytes)
                                      + ", before the " + std::to_string(count) + " bytes at "
                                      + std::to_string(offset) + "; copy or download it again");
  read_log::note(x_path, x_bytes, offset, count);
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
