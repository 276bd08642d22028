#include "actors/workplace.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace viva::actors {
namespace fs = std::filesystem;

descriptor::~descriptor() {
  if (x_fd >= 0)
    ::close(x_fd);
}

error system_error(const std::string& doing, const fs::path& file, bool writing) {
  const int reason = errno;
  const auto code = !writing ? errc::unreadable
                    : reason == ENOSPC || reason == EDQUOT ? errc::disk_full
                                                           : errc::cannot_write;
  const char* remedy = code == errc::disk_full ? "; free some space and run the same command again"
                       : reason == EACCES || reason == EPERM ? "; check the permissions"
                                                             : "";
  return {code, file.string() + ": cannot " + doing + ": " + std::strerror(reason) + remedy};
}

namespace {

tl::unexpected<error> failed(const std::string& doing, const fs::path& file, bool writing = true) {
  return tl::unexpected(system_error(doing, file, writing));
}

expected<void> sync_folder(const fs::path& folder) {
  const descriptor fd{::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY)};
  if (fd.get() < 0 || ::fsync(fd.get()) != 0)
    return failed("sync", folder);
  return {};
}

expected<void> write_all(int fd, const fs::path& name, std::uint64_t offset,
                         std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return failed("write", name);
    offset += static_cast<std::uint64_t>(n);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

expected<void> write_text(const fs::path& name, std::string_view text) {
  const descriptor fd{::open(name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)};
  if (fd.get() < 0)
    return failed("create", name);
  if (auto done = write_all(fd.get(), name, 0, std::as_bytes(std::span(text))); !done)
    return done;
  if (::fsync(fd.get()) != 0)
    return failed("sync", name);
  return {};
}

expected<void> copy_durably(const fs::path& from, const fs::path& to) {
  std::error_code why;
  fs::create_directories(to.parent_path(), why);
  if (!fs::copy_file(from, to, fs::copy_options::overwrite_existing, why)) {
    errno = why.value();
    return failed("copy " + from.string() + " here", to);
  }
  const descriptor fd{::open(to.c_str(), O_RDONLY | O_CLOEXEC)};
  if (fd.get() < 0 || ::fsync(fd.get()) != 0)
    return failed("sync", to);
  return {};
}

/// What --overwrite may remove: a file, or a folder of plain files that holds a checkpoint.
expected<void> check_replaceable(const fs::path& output) {
  if (!fs::is_directory(output))
    return {};
  bool checkpoint = fs::is_empty(output);
  for (const auto& entry : fs::recursive_directory_iterator(output)) {
    checkpoint |= entry.path().extension() == ".safetensors";
  }
  if (!checkpoint)
    return fail(errc::output_exists, output.string()
                                       + ": is a folder that holds no checkpoint; --overwrite "
                                         "replaces only checkpoints. Choose another output");
  return {};
}

} // namespace

expected<mapped_file> mapped_file::open(const fs::path& file) {
  const descriptor fd{::open(file.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat info {};
  if (fd.get() < 0 || ::fstat(fd.get(), &info) != 0)
    return failed("open", file, false);
  const auto bytes = static_cast<std::size_t>(info.st_size);
  if (bytes == 0)
    return mapped_file{nullptr, 0};
  void* data = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED)
    return failed("map", file, false);
  ::madvise(data, bytes, MADV_SEQUENTIAL);
  return mapped_file{static_cast<const std::byte*>(data), bytes};
}

mapped_file::~mapped_file() {
  if (x_data != nullptr)
    ::munmap(const_cast<std::byte*>(x_data), x_bytes);
}

fs::path partial_path(const fs::path& output) {
  return output.string() + ".partial";
}

fs::path journal_path(const fs::path& output) {
  return output.string() + ".journal";
}

expected<void> check_output(const fs::path& source, const fs::path& output, bool overwrite) {
  std::error_code why;
  if (output.empty() || output.filename().empty())
    return fail(errc::bad_option, "'" + output.string() + "' is no name for an output");
  const bool exists = fs::exists(fs::symlink_status(output, why));
  if (exists && fs::equivalent(source, output, why))
    return fail(errc::output_is_source,
                output.string() + ": is the source itself; choose another output");
  const auto inside = fs::weakly_canonical(output, why).lexically_relative(
    fs::weakly_canonical(source, why));
  if (fs::is_directory(source, why) && !inside.empty() && *inside.begin() != "..")
    return fail(errc::output_is_source,
                output.string() + ": lies inside the source folder; choose another output");
  const auto around = fs::weakly_canonical(source, why).lexically_relative(
    fs::weakly_canonical(output, why));
  if (exists && !around.empty() && *around.begin() != "..")
    return fail(errc::output_is_source,
                output.string() + ": holds the source; choose another output");
  if (exists && !overwrite)
    return fail(errc::output_exists,
                output.string() + ": is there already; choose another output or say --overwrite");
  return exists ? check_replaceable(output) : expected<void>{};
}

expected<workplace> workplace::open(const plan& p, const fs::path& output) {
  workplace result;
  for (const auto& source : p.sources) {
    auto mapped = mapped_file::open(source);
    if (!mapped)
      return tl::unexpected(mapped.error());
    result.x_sources.push_back(std::move(*mapped));
  }
  result.x_output = output;
  if (p.writes())
    if (auto made = result.make_partial(p); !made)
      return tl::unexpected(made.error());
  return result;
}

expected<void> workplace::make_partial(const plan& p) {
  x_folder = p.output.folder;
  const auto partial = partial_path(x_output);
  std::error_code why;
  if (x_folder && !fs::create_directories(partial, why) && why) {
    errno = why.value();
    return failed("create", partial);
  }
  for (const auto& file : p.output.files) {
    const auto name = x_folder ? partial / file.name : partial;
    descriptor fd{::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)};
    if (fd.get() < 0)
      return failed("create", name);
    // Reserving the blocks now turns a disk that will be full into an error before any work.
    const auto bytes = static_cast<off_t>(file.bytes);
    if (::ftruncate(fd.get(), bytes) != 0)
      return failed("size", name);
    if (const int reason = ::posix_fallocate(fd.get(), 0, bytes);
        reason != 0 && reason != EOPNOTSUPP && reason != EINVAL) {
      errno = reason;
      return failed("reserve " + std::to_string(file.bytes) + " bytes", name);
    }
    x_outputs.push_back(std::move(fd));
    x_output_names.push_back(name);
    const auto index = static_cast<std::uint32_t>(x_outputs.size() - 1);
    if (auto done = write({index, 0}, std::as_bytes(std::span(file.header))); !done)
      return done;
    for (const auto& tensor : file.tensors)
      if (tensor.what == formats::out_tensor::kind::constant)
        if (auto done = write({index, tensor.entry.begin}, std::as_bytes(std::span(tensor.bytes)));
            !done)
          return done;
  }
  for (const auto& text : p.output.texts)
    if (auto done = write_text(partial / text.name, text.text); !done)
      return done;
  for (const auto& copy : p.output.copies)
    if (auto done = copy_durably(p.source_root / copy, partial / copy); !done)
      return done;
  return {};
}

expected<void> workplace::write(placement where, std::span<const std::byte> bytes) const {
  return write_all(x_outputs[where.file].get(), x_output_names[where.file], where.offset, bytes);
}

expected<void> workplace::read_back(placement where, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const auto n = ::pread(x_outputs[where.file].get(), bytes.data(), bytes.size(),
                           static_cast<off_t>(where.offset));
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return failed("read back", x_output_names[where.file], false);
    where.offset += static_cast<std::uint64_t>(n);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

expected<void> workplace::sync() const {
  for (std::size_t i = 0; i < x_outputs.size(); ++i)
    if (::fdatasync(x_outputs[i].get()) != 0)
      return failed("sync", x_output_names[i]);
  return {};
}

expected<void> workplace::publish(bool overwrite) const {
  const auto partial = partial_path(x_output);
  for (std::size_t i = 0; i < x_outputs.size(); ++i)
    if (::fsync(x_outputs[i].get()) != 0)
      return failed("sync", x_output_names[i]);
  if (x_folder)
    if (auto done = sync_folder(partial); !done)
      return done;
  // Without --overwrite the rename refuses to replace what appeared meanwhile; with it the two
  // names are exchanged in one step and only then is the old output removed.
  std::error_code why;
  const bool exists = fs::exists(fs::symlink_status(x_output, why));
  const unsigned flags = exists && overwrite ? RENAME_EXCHANGE : RENAME_NOREPLACE;
  if (::renameat2(AT_FDCWD, partial.c_str(), AT_FDCWD, x_output.c_str(), flags) != 0)
    return failed("give the output its name", x_output);
  if (auto done = sync_folder(x_output.parent_path()); !done)
    return done;
  if (exists && overwrite)
    fs::remove_all(partial, why);
  fs::remove(journal_path(x_output), why);
  return {};
}

void discard(const fs::path& output) {
  std::error_code ignored;
  fs::remove_all(partial_path(output), ignored);
  fs::remove(journal_path(output), ignored);
}

} // namespace viva::actors
