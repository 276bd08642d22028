#include "actors/pipeline/file_source.hpp"

#include "actors/workplace.hpp"
#include "supervision/descriptor.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <unistd.h>

namespace viva::actors {

expected<file_source> file_source::of(const file_values& values) {
  file_source made;
  made.x_path = values.path;
  made.x_first = values.offset;
  const auto now = state_of(values.path);
  if (now == file_state{})
    return fail(errc::unreadable, values.path.string() + " cannot be found ("
                                    + std::strerror(errno) + "); is it the right path?");
  made.x_was = std::make_shared<const file_state>(now);
  return made;
}

expected<void> file_source::read(std::uint64_t from, std::span<std::byte> to) const {
  const auto changed = [&] { return state_of(x_path) != *x_was; };
  const std::string others = " is not what it was when it was put: changed, moved or replaced; put "
                             "it again";
  const auto refuse = [&](const std::string& why) {
    return fail(errc::unreadable, x_path.string() + (changed() ? others : why));
  };
  const supervision::descriptor file{::open(x_path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file)
    return refuse(std::string(" does not open: ") + std::strerror(errno));
  for (auto at = x_first + from; !to.empty();) {
    const auto got = ::pread(file.get(), to.data(), to.size(), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return refuse(std::string(": ") + std::strerror(errno));
    if (got == 0)
      return refuse(" ends before; is it as long as the shape says?");
    at += static_cast<std::uint64_t>(got);
    to = to.subspan(static_cast<std::size_t>(got));
  }
  if (changed()) // perhaps while it was read
    return refuse(others);
  return {};
}

} // namespace viva::actors
