#include "actors/node/scratch.hpp"

#include "actors/disk.hpp"
#include "actors/node/letters.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace viva::actors::node {
namespace {

namespace fs = std::filesystem;
using supervision::descriptor;

constexpr std::uint64_t block_bytes = 64 << 10; // a multiple of every file system's
constexpr std::uint64_t page_bytes = 4096;

tl::unexpected<error> failed(const std::string& doing, const fs::path& what) {
  return tl::unexpected(system_error(doing, what, true));
}

bool stays_inside(const fs::path& name) {
  return !name.empty() && name.is_relative() && name.has_filename()
         && std::ranges::none_of(name, [](const fs::path& part) {
              return part == ".." || part == "." || part.native().find('\0') != std::string::npos;
            });
}

expected<shared_file> make_file(const fs::path& name, std::uint64_t bytes) {
  std::error_code why;
  fs::create_directories(name.parent_path(), why);
  auto file = std::make_shared<const descriptor>(
    ::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!*file || ::ftruncate(file->get(), static_cast<off_t>(bytes)) != 0)
    return failed("make", name);
  return file;
}

/// One of this user's, and of nobody else's making.
expected<fs::path> default_folder() {
  std::error_code why;
  const auto folder = fs::temp_directory_path(why) / ("viva-scratch-" + std::to_string(::getuid()));
  struct stat info {};
  if (why || (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
      || ::lstat(folder.c_str(), &info) != 0)
    return failed("make", folder);
  if (!S_ISDIR(info.st_mode) || info.st_uid != ::getuid())
    return fail(errc::cannot_write, folder.string() + ": belongs to somebody else; name a folder "
                                                      "of yours with --scratch");
  return folder;
}

/// Held: its node lives. `create` is O_CREAT where there may be none yet, else 0.
descriptor lock_of(const fs::path& node, int create) {
  descriptor lock{::open((node / "lock").c_str(), O_RDWR | create | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (lock && ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
    return descriptor{-1};
  return lock;
}

/// Process numbers come again, and containers all begin with 1.
std::string name_of_life() {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx",
                static_cast<unsigned long long>(own_incarnation()));
  return text;
}

/// node-<16 hexadecimal digits>-<digits>: the folder may hold others' things.
bool is_of_a_node(const std::string& name) {
  constexpr const char* hex = "0123456789abcdef";
  constexpr const char* digits = "0123456789";
  return name.size() > 22 && name.starts_with("node-") && name[21] == '-'
         && name.substr(5, 16).find_first_not_of(hex) == name.npos
         && name.substr(22).find_first_not_of(digits) == name.npos;
}

/// Who wrote its number into a lock's file, in words.
std::string holder_of(const descriptor& lock) {
  char text[16] = {};
  const auto bytes = ::pread(lock.get(), text, sizeof text - 1, 0);
  const auto digits = std::string_view(text, bytes > 0 ? static_cast<std::size_t>(bytes) : 0)
                        .find_first_not_of("0123456789");
  return digits == 0 || digits == std::string_view::npos ? "another process"
                                                          : "process " + std::string(text, digits);
}

/// Held while a node begins: one at a time, or who begins would be taken for dead between its
/// folder and its lock. It takes as long as the folders of the dead take to be removed.
expected<descriptor> begin_alone(const fs::path& folder, std::chrono::milliseconds patience) {
  const auto name = folder / "lock";
  descriptor alone{::open(name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (!alone)
    return failed("open", name);
  const auto until = std::chrono::steady_clock::now() + patience;
  while (::flock(alone.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR)
      return failed("lock", name);
    if (std::chrono::steady_clock::now() > until)
      return fail(errc::cannot_write, name.string() + ": " + holder_of(alone)
                                        + " begins in this folder for more than "
                                        + std::to_string(patience.count())
                                        + " ms; end it, or name another folder with --scratch");
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
  }
  if (::ftruncate(alone.get(), 0) == 0) // for whoever waits in vain; nothing else is read there
    ::dprintf(alone.get(), "%d\n", ::getpid());
  return alone;
}

void remove_dead(const fs::path& folder) {
  std::error_code why;
  for (fs::directory_iterator at(folder, why), end; !why && at != end; at.increment(why)) {
    const auto name = at->path().filename().string();
    std::error_code ignored;
    if (!is_of_a_node(name) || at->is_symlink(ignored))
      continue;
    if (const auto lock = lock_of(at->path(), 0); lock)
      fs::remove_all(at->path(), ignored);
    else
      ::rmdir(at->path().c_str()); // one killed before it had a lock has nothing else
  }
}

/// Whether blocks in the middle of a file can be given back.
expected<void> check_holes(const descriptor& file, const fs::path& folder) {
  const std::string bytes(4096, 'x');
  if (::pwrite(file.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    return failed("write into", folder);
  if (::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) != 0)
    return fail(errc::bad_option, folder.string() + ": files there can have no holes ("
                                    + std::generic_category().message(errno)
                                    + "); name a folder on ext4, xfs, btrfs or tmpfs with "
                                      "--scratch");
  return {};
}

} // namespace

expected<std::unique_ptr<scratch>> scratch::make(fs::path folder, const manifest& list) {
  auto made = std::unique_ptr<scratch>(new scratch(std::move(folder)));
  for (const auto& file : list.files) {
    if (!stays_inside(file.name) || file.bytes > static_cast<std::uint64_t>(INT64_MAX))
      return fail(errc::malformed, "a file of the job has a name or a size that none can have");
    auto one = make_file(made->x_folder / file.name, file.bytes);
    if (!one)
      return tl::unexpected(one.error());
    made->x_files.push_back(std::move(*one));
  }
  made->x_held.resize(made->x_files.size());
  return made;
}

scratch::~scratch() {
  std::error_code ignored;
  // Lanes keep their files open until they get another job.
  for (const auto& file : x_files) {
    struct stat info {};
    if (::fstat(file->get(), &info) == 0 && info.st_size > 0)
      ::fallocate(file->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, info.st_size);
  }
  fs::remove_all(x_folder, ignored);
}

void scratch::hold(const std::vector<byte_range>& ranges) {
  for (const auto& each : ranges)
    x_held[each.file].add(each.offset, each.bytes);
}

void scratch::let_go(const std::vector<byte_range>& ranges) {
  for (const auto& each : ranges)
    x_held[each.file].remove(each.offset, each.bytes);
  // Outwards to whole blocks: what nobody holds there is left from neighbours that are done.
  std::vector<byte_range> blocks;
  for (const auto& each : ranges) {
    const auto begin = each.offset / block_bytes * block_bytes;
    const auto end = (each.offset + each.bytes + block_bytes - 1) / block_bytes * block_bytes;
    blocks.push_back({each.file, begin, end - begin});
  }
  for (const auto& each : merged(std::move(blocks)))
    x_held[each.file].each_gap(each.offset, each.bytes, [&](std::uint64_t at, std::uint64_t bytes) {
      if (bytes < page_bytes)
        return; // between rows that others hold, thousands of them; none has a page of its own
      // Where it fails, disk is taken until the job ends; nothing else is wrong.
      ::fallocate(x_files[each.file]->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(at), static_cast<off_t>(bytes));
    });
}

expected<std::unique_ptr<scratch_root>> scratch_root::open(fs::path folder,
                                                           std::chrono::milliseconds patience) {
  if (folder.empty()) {
    auto own = default_folder();
    if (!own)
      return tl::unexpected(own.error());
    folder = std::move(*own);
  }
  std::error_code why;
  folder = fs::absolute(folder, why);
  if (!fs::is_directory(folder, why))
    return fail(errc::bad_option, folder.string() + ": is no folder; make it, or name another one "
                                                    "with --scratch");
  const auto alone = begin_alone(folder, patience);
  if (!alone)
    return tl::unexpected(alone.error());
  remove_dead(folder);
  static std::atomic<unsigned> roots{0}; // of this process
  const auto own = folder / ("node-" + name_of_life() + "-" + std::to_string(roots++));
  if (::mkdir(own.c_str(), 0700) != 0)
    return failed("make", own);
  auto lock = lock_of(own, O_CREAT);
  if (!lock)
    return failed("lock", own);
  auto made = std::unique_ptr<scratch_root>(new scratch_root(own, std::move(lock)));
  if (auto holes = check_holes(made->x_lock, folder); !holes)
    return tl::unexpected(holes.error());
  return made;
}

scratch_root::~scratch_root() {
  std::error_code ignored;
  fs::remove_all(x_own, ignored);
}

expected<std::unique_ptr<scratch>> scratch_root::make(const manifest& list) {
  return scratch::make(x_own / ("job-" + std::to_string(++x_jobs)), list);
}

} // namespace viva::actors::node
