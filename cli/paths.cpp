#include "cli/paths.hpp"

#include "actors/workplace.hpp"
#include "formats/shown.hpp"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

#include <sys/stat.h>
#include <unistd.h>

namespace viva::cli {

namespace fs = std::filesystem;

namespace {

using formats::shown;

/// Device and inode of what a path leads to: two paths with the same are one file or folder. None
/// where it leads nowhere.
std::optional<std::pair<std::uint64_t, std::uint64_t>> identity_of(const fs::path& path) {
  const auto state = actors::state_of(path);
  if (state == actors::file_state{})
    return std::nullopt;
  return std::pair{state.device, state.inode};
}

tl::unexpected<error> unwritable(const fs::path& report, const std::string& why) {
  return fail(errc::cannot_write, shown(report) + ": the report could not be written there: " + why
                                      + "; name a file in an existing, writable folder");
}

/// The place of a file that need not be there yet, free of links in its folder's path.
fs::path place_of(const fs::path& path) {
  std::error_code why;
  const auto folder = fs::canonical(path.has_parent_path() ? path.parent_path() : ".", why);
  return why ? path : folder / path.filename();
}

/// True where `report` is `path` or lies in it, whether or not either is there.
bool is_within(const fs::path& report, const fs::path& path) {
  const auto target = identity_of(path);
  const auto place = place_of(path);
  for (auto at = place_of(report);; at = at.parent_path()) {
    if (at == place || (target && identity_of(at) == target))
      return true;
    if (at == at.parent_path())
      return false;
  }
}

/// True where a checkpoint's folder, or the one file, holds the file that is `report`.
bool holds(const fs::path& source, const fs::path& report) {
  const auto wanted = identity_of(report);
  if (identity_of(source) == wanted)
    return true;
  std::error_code why;
  for (fs::recursive_directory_iterator at(source, why), end; !why && at != end; at.increment(why))
    if (identity_of(at->path()) == wanted)
      return true;
  return false;
}

} // namespace

expected<fs::path> output_path(std::string text) {
  while (text.size() > 1 && text.ends_with('/'))
    text.pop_back();
  fs::path path(text);
  if (path.filename().empty())
    return fail(errc::bad_option, shown(text) + " is no name for an output");
  // The longest name that will be made beside it.
  std::error_code why;
  if (fs::symlink_status(actors::partial_path(path), why).type() == fs::file_type::none)
    return fail(errc::cannot_write,
                shown(path) + ": can be no output: " + why.message() + "; choose another");
  return path;
}

expected<void> check_report_path(const fs::path& report, const job_paths& paths) {
  struct stat named {};
  struct stat found {};
  const bool link = ::lstat(report.c_str(), &named) == 0 && S_ISLNK(named.st_mode);
  const bool exists = ::stat(report.c_str(), &found) == 0;
  if (!exists && (link || errno != ENOENT))
    return unwritable(report, link ? "it is a link to nothing" : std::strerror(errno));
  if (exists && S_ISDIR(found.st_mode))
    return unwritable(report, "it is a folder");
  const auto folder = report.has_parent_path() ? report.parent_path() : fs::path(".");
  if (::access(exists ? report.c_str() : folder.c_str(), W_OK) != 0)
    return unwritable(report, std::strerror(errno));
  if (exists)
    for (const auto& source : paths.reads)
      if (holds(source, report))
        return fail(errc::bad_option, shown(report)
                                          + ": the report would replace a file of the source "
                                          + shown(source) + "; choose another name");
  if (!paths.writes.empty())
    for (const auto& path :
         {paths.writes, actors::partial_path(paths.writes), actors::journal_path(paths.writes)})
      if (is_within(report, path))
        return fail(errc::bad_option, shown(report) + ": the report would lie in the job's output "
                                          + shown(path) + "; choose another place");
  return {};
}

} // namespace viva::cli
