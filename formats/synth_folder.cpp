#include "formats/synth_folder.hpp"

#include "formats/shown.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace viva::formats {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view partial_ending = ".partial";

/// True for the names of weights that `synthesize` gives, under any sharding.
bool is_weights(std::string_view name) {
  return name == "model.safetensors" || name == "model.safetensors.index.json"
         || (name.starts_with("model-") && name.ends_with(".safetensors"));
}

/// True for what a run that was killed leaves behind.
bool is_leftover(std::string_view name) {
  if (!name.ends_with(partial_ending))
    return false;
  name.remove_suffix(partial_ending.size());
  return is_weights(name) || name == "config.json" || name == "generation_config.json";
}

/// Names in a folder; those that a failing disk hides are left out.
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code why;
  for (fs::directory_iterator at(folder, why), end; !why && at != end; at.increment(why))
    names.push_back(at->path().filename().string());
  return names;
}

expected<void> sync_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY);
  const bool durable = descriptor >= 0 && ::fsync(descriptor) == 0;
  const int code = errno;
  if (descriptor >= 0)
    ::close(descriptor);
  return durable ? expected<void>{} : cannot("make it durable", folder, code);
}

} // namespace

tl::unexpected<error> cannot(std::string_view doing, const fs::path& path, int code) {
  const bool full = code == ENOSPC || code == EDQUOT;
  return fail(full ? errc::disk_full : errc::cannot_write,
              shown(path) + ": cannot " + std::string(doing) + ": "
                  + std::generic_category().message(code)
                  + (full ? "; free some space, or ask for a smaller --size"
                          : "; check the path and its permissions"));
}

partial_file::partial_file(fs::path final_name) : x_final(std::move(final_name)) {}

partial_file::partial_file(partial_file&& other) noexcept
    : x_final(std::move(other.x_final)), x_descriptor(std::exchange(other.x_descriptor, -1)),
      x_made(std::exchange(other.x_made, false)) {}

partial_file::~partial_file() {
  if (x_descriptor >= 0)
    ::close(x_descriptor);
  if (x_made)
    ::unlink(partial().c_str());
}

fs::path partial_file::partial() const {
  return fs::path(x_final) += partial_ending;
}

expected<void> partial_file::make(std::uint64_t bytes) {
  // Leftovers were removed; what has this name still is not ours to write into.
  x_descriptor = ::open(partial().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (x_descriptor < 0)
    return cannot("create it", partial(), errno);
  x_made = true;
  const int code = bytes == 0 ? 0 : ::posix_fallocate(x_descriptor, 0, static_cast<off_t>(bytes));
  if (code != 0 && code != EOPNOTSUPP && code != EINVAL)
    return cannot("reserve " + std::to_string(bytes) + " bytes", partial(), code);
  return {};
}

int partial_file::write(std::uint64_t offset, const char* from,
                        std::uint64_t count) const noexcept {
  while (count > 0) {
    const auto put = ::pwrite(x_descriptor, from, count, static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR)
      continue;
    if (put < 0)
      return errno;
    const auto done = static_cast<std::uint64_t>(put);
    offset += done, from += done, count -= done;
  }
  return 0;
}

expected<void> partial_file::sync() const {
  if (::fsync(x_descriptor) != 0)
    return cannot("make it durable", partial(), errno);
  return {};
}

expected<void> partial_file::publish() {
  if (std::rename(partial().c_str(), x_final.c_str()) != 0)
    return cannot("rename it", partial(), errno);
  x_made = false;
  return {};
}

expected<synth_folder> synth_folder::take(const fs::path& folder, bool overwrite) {
  synth_folder taken;
  taken.x_path = folder;
  if (auto made = taken.make(); !made)
    return tl::unexpected(made.error());
  if (auto alone = taken.lock(); !alone)
    return tl::unexpected(alone.error());
  if (auto empty = taken.check_empty(overwrite); !empty)
    return tl::unexpected(empty.error());
  taken.remove_leftovers();
  return taken;
}

synth_folder::synth_folder(synth_folder&& other) noexcept
    : x_path(std::move(other.x_path)), x_made(std::exchange(other.x_made, {})),
      x_descriptor(std::exchange(other.x_descriptor, -1)) {}

synth_folder::~synth_folder() {
  while (!x_made.empty()) { // rmdir leaves a folder that holds anything
    ::rmdir(x_made.back().c_str());
    x_made.pop_back();
  }
  if (x_descriptor >= 0)
    ::close(x_descriptor);
}

/// Makes the folder and those around it, one by one, to know which were missing.
expected<void> synth_folder::make() {
  std::vector<fs::path> missing;
  std::error_code why;
  for (auto at = x_path; !at.empty() && fs::status(at, why).type() == fs::file_type::not_found;
       at = at.parent_path())
    missing.push_back(at);
  for (; !missing.empty(); missing.pop_back()) {
    if (fs::create_directory(missing.back(), why))
      x_made.push_back(missing.back());
    else if (why)
      return cannot("create it", missing.back(), why.value());
  }
  return {};
}

expected<void> synth_folder::lock() {
  x_descriptor = ::open(x_path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (x_descriptor < 0 && errno == ENOTDIR)
    return fail(errc::cannot_write, shown(x_path) + ": is no folder; name another output");
  if (x_descriptor < 0)
    return cannot("open it", x_path, errno);
  // A file system that knows no locks takes none; one that says no means it.
  if (::flock(x_descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return fail(errc::output_exists,
                shown(x_path) + ": another process writes into it; wait for its end");
  return {};
}

expected<void> synth_folder::check_empty(bool overwrite) const {
  if (overwrite || std::ranges::all_of(names_in(x_path), is_leftover))
    return {};
  return fail(errc::output_exists,
              shown(x_path)
                  + ": is there already and not empty; say --overwrite to replace its checkpoint, "
                    "or name another output");
}

void synth_folder::remove_leftovers() const {
  for (const auto& name : names_in(x_path))
    if (is_leftover(name))
      ::unlink((x_path / name).c_str()); // no folder; `partial_file` says what stays in the way
}

expected<void> synth_folder::publish(std::vector<partial_file>& files) {
  for (auto& file : files)
    if (auto named = file.publish(); !named)
      return named;
  if (auto durable = sync_folder(x_path); !durable)
    return durable;
  for (const auto& folder : x_made)
    if (auto durable = sync_folder(folder.parent_path()); !durable)
      return durable;
  for (const auto& name : names_in(x_path)) // what cannot be removed is no fault of the new files
    if (is_weights(name)
        && std::ranges::find(files, x_path / name, &partial_file::final_name) == files.end())
      ::unlink((x_path / name).c_str());
  return sync_folder(x_path);
}

} // namespace viva::formats
