#include "actors/disk.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace viva::actors {
namespace {

namespace fs = std::filesystem;

tl::unexpected<error> failed(const std::string& doing, const fs::path& file, bool writing = true) {
  return tl::unexpected(system_error(doing, file, writing));
}

/// Whether machines that do not see each other's caches may write to this file at once.
bool is_on_network(int fd) {
  struct statfs info {};
  if (::fstatfs(fd, &info) != 0)
    return false;
  const auto kind = static_cast<std::uint32_t>(info.f_type);
  return kind == NFS_SUPER_MAGIC || kind == SMB2_SUPER_MAGIC || kind == CIFS_SUPER_MAGIC;
}

class real_file final : public open_file {
public:
  real_file(descriptor fd, fs::path name) : x_fd(std::move(fd)), x_name(std::move(name)) {
  }
  expected<void> write(std::uint64_t at, std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const auto n = ::pwrite(x_fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(at));
      if (n < 0 && errno == EINTR)
        continue;
      if (n <= 0)
        return failed("write", x_name);
      at += static_cast<std::uint64_t>(n);
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return {};
  }
  expected<void> read(std::uint64_t at, std::span<std::byte> bytes) override {
    while (!bytes.empty()) {
      const auto n = ::pread(x_fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(at));
      if (n < 0 && errno == EINTR)
        continue;
      if (n == 0)
        return fail(errc::unreadable, x_name.string() + ": ends at byte " + std::to_string(at)
                                        + ", before what should be read there; say --overwrite, or "
                                          "remove the .partial output and its journal, to start "
                                          "anew");
      if (n < 0)
        return failed("read back", x_name, false);
      at += static_cast<std::uint64_t>(n);
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return {};
  }
  expected<std::uint64_t> size() override {
    struct stat info {};
    if (::fstat(x_fd.get(), &info) != 0)
      return failed("look at", x_name, false);
    return static_cast<std::uint64_t>(info.st_size);
  }
  expected<void> resize(std::uint64_t bytes) override {
    if (::ftruncate(x_fd.get(), static_cast<off_t>(bytes)) != 0)
      return failed("size", x_name);
    return {};
  }
  expected<void> reserve(std::uint64_t bytes) override {
    while (::fallocate(x_fd.get(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)) != 0) {
      if (errno == EOPNOTSUPP || errno == EINVAL || errno == ENOSYS)
        return {};
      if (errno != EINTR)
        return failed("reserve " + std::to_string(bytes) + " bytes", x_name);
    }
    return {};
  }
  expected<void> sync() override {
    if (::fdatasync(x_fd.get()) != 0)
      return failed("sync", x_name);
    return {};
  }

private:
  descriptor x_fd;
  fs::path x_name;
};

class posix_disk final : public disk {
public:
  expected<std::unique_ptr<open_file>> open(const fs::path& file, mode how) override {
    const int flags = how == mode::read    ? O_RDONLY
                      : how == mode::write ? O_RDWR | O_NOFOLLOW
                                           : O_RDWR | O_CREAT | O_NOFOLLOW;
    descriptor fd{::open(file.c_str(), flags | O_CLOEXEC, 0666)};
    if (fd.get() < 0)
      return failed(how == mode::write_or_create ? "create" : "open", file, how != mode::read);
    // Shards end within pages. An NFS client that may cache would send the whole page, with what it
    // read of the neighbour's half before that was written; one that syncs each write sends what it
    // was given.
    if (how != mode::read && is_on_network(fd.get())) {
      fd = descriptor{::open(file.c_str(), flags | O_DSYNC | O_CLOEXEC, 0666)};
      if (fd.get() < 0)
        return failed("open", file);
    }
    return std::make_unique<real_file>(std::move(fd), file);
  }
  file_identity identity(const fs::path& name) override {
    struct stat info {};
    if (::lstat(name.c_str(), &info) != 0)
      return {};
    return {info.st_dev, info.st_ino};
  }
  expected<void> rename(const fs::path& from, const fs::path& to, bool exchange) override {
    const unsigned flags = exchange ? RENAME_EXCHANGE : RENAME_NOREPLACE;
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) != 0)
      return failed("give the output its name", to);
    return {};
  }
  expected<void> sync_folder(const fs::path& folder) override {
    const descriptor fd{::open(folder.empty() ? "." : folder.c_str(),
                               O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (fd.get() < 0 || ::fsync(fd.get()) != 0)
      return failed("sync", folder);
    return {};
  }
  void remove_all(const fs::path& name) override {
    std::error_code ignored;
    fs::remove_all(name, ignored);
  }
};

} // namespace

namespace {

/// What to do about it, in words that continue the error's.
std::string_view remedy_of(int reason, bool writing) {
  switch (reason) {
    case ENOSPC:
    case EDQUOT:
      return "free some space and run the same command again";
    case EACCES:
    case EPERM:
      return "check the permissions";
    case EROFS:
      return "the file system is read-only; choose another place";
    case EIO:
      return "the disk or its connection fails; look at the system's log, mend it, and run the "
             "same command again";
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return "raise the limit (ulimit -n, memory) or stop other programs, and run it again";
    case EFBIG:
      return "the file system or ulimit -f forbids files of that size; choose another place";
    case ENAMETOOLONG:
      return "choose a shorter name";
    case EXDEV:
    case EBUSY:
    case EINVAL:
    case EOPNOTSUPP:
      return "the file system cannot do it, or something else is mounted there; choose another "
             "place";
    default:
      return writing ? "check that the folder is there and may be written to"
                     : "check that it is there and may be read";
  }
}

} // namespace

error system_error(const std::string& doing, const fs::path& file, bool writing) {
  const int reason = errno;
  const auto code = !writing ? errc::unreadable
                    : reason == ENOSPC || reason == EDQUOT ? errc::disk_full
                                                           : errc::cannot_write;
  return {code, file.string() + ": cannot " + doing + ": " + std::strerror(reason) + "; "
                  + std::string(remedy_of(reason, writing))};
}

disk& real_disk() {
  static posix_disk only;
  return only;
}

} // namespace viva::actors
