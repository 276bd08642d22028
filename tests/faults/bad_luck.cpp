// Bad luck for a program that knows nothing of it, by LD_PRELOAD: calls that fail as a disk, a
// memory or a system that is at its end would let them, disks that are slow, clocks that jump.
//
//   BAD_LUCK="KIND AFTER FOLDER"   the (AFTER + 1)-th call of that kind in a process fails, if a
//                                  file FOLDER/token.N is left, which becomes FOLDER/fired.N: its
//                                  ctime is the moment. Later calls fail while tokens are left.
//   journal-write  ENOSPC of a pwrite to *.journal     journal-sync  EIO of its fdatasync
//   output-write   EIO of any other pwrite             output-sync   EIO of any other fdatasync
//   folder-sync    EIO of an fsync of a folder
//   journal-full   ENOSPC of an fallocate of *.journal, and from then on of all that is written
//                  beyond what was reserved before
//   spawn          EAGAIN of a posix_spawn, or of the clone by which a nursery makes a lane
//   memory         no memory from malloc and its kin, counted from main on; of lanes alone
//   program-memory the same, of all that are no lanes
//   terminate      of lanes alone, at a pwrite: an exception that nobody may throw there
//   destructor     of lanes alone, at a pwrite: a destructor that throws while another exception
//                  is on its way
//   hoard          of lanes alone: a malloc takes and uses half a GiB more
//   clock          (AFTER, FOLDER unused) the wall clock jumps by an hour, back and forth
//   slow           every fdatasync and fsync takes AFTER microseconds more
//   slow-writes    every pwrite to a file of an output takes AFTER microseconds more, and
//                  FOLDER/writes gets its moment, in seconds

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <stdexcept>

#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
}

namespace {

enum class kind {
  none, journal_write, journal_sync, output_write, output_sync, folder_sync, journal_full, spawn,
  memory, program_memory, terminate, destructor, hoard, clock, slow, slow_writes
};
constexpr const char* names[] = {"none",         "journal-write", "journal-sync", "output-write",
                                 "output-sync",  "folder-sync",   "journal-full", "spawn",
                                 "memory",       "program-memory", "terminate",   "destructor",
                                 "hoard",        "clock",         "slow",
                                 "slow-writes"};

std::atomic<kind> which{kind::none};
long after = 0;
char folder[512];
std::atomic<long> calls{0};
std::atomic<bool> full{false};       // of journal-full
std::atomic<off64_t> reserved{0};    // bytes of the journal

bool is_lane() {
  char line[4096] = {};
  if (FILE* in = std::fopen("/proc/self/cmdline", "r")) {
    const auto bytes = std::fread(line, 1, sizeof line - 1, in);
    std::fclose(in);
    const auto first = std::strlen(line) + 1;
    return first < bytes && std::strcmp(line + first, "lane") == 0;
  }
  return false;
}

__attribute__((constructor)) void begin() {
  const char* text = std::getenv("BAD_LUCK");
  char name[32] = {};
  if (text == nullptr || std::sscanf(text, "%31s %ld %511s", name, &after, folder) < 2)
    return;
  auto chosen = kind::none;
  for (int i = 1; i <= static_cast<int>(kind::slow_writes); ++i)
    if (std::strcmp(name, names[i]) == 0)
      chosen = static_cast<kind>(i);
  const bool of_lanes = chosen == kind::memory || chosen == kind::hoard
                        || chosen == kind::terminate || chosen == kind::destructor;
  if ((of_lanes || chosen == kind::program_memory) && of_lanes != is_lane())
    chosen = kind::none;
  which = chosen;
}

/// One of the tokens, for this call alone.
bool strikes(kind what) {
  if (what != which || calls.fetch_add(1) < after)
    return false;
  static std::atomic<int> left{0}; // the first token that may be there
  char from[600], to[600];
  for (int i = left; i < 1000; ++i) {
    std::snprintf(from, sizeof from, "%s/token.%d", folder, i);
    std::snprintf(to, sizeof to, "%s/fired.%d", folder, i);
    if (std::rename(from, to) == 0) {
      left = i + 1;
      return true;
    }
  }
  which = kind::none; // all are gone
  return false;
}

/// Of an open file; 0 where there is none.
std::size_t name_of(int fd, char (&path)[4096]) {
  char link[64];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const auto bytes = ::readlink(link, path, sizeof path - 1);
  path[std::max<ssize_t>(bytes, 0)] = '\0';
  return static_cast<std::size_t>(std::max<ssize_t>(bytes, 0));
}

bool is_journal(int fd) {
  char path[4096];
  const auto bytes = static_cast<ssize_t>(name_of(fd, path));
  constexpr const char* end = ".journal";
  const auto length = static_cast<ssize_t>(std::strlen(end));
  return bytes >= length && std::memcmp(path + bytes - length, end, std::strlen(end)) == 0;
}

[[noreturn]] void fail_with(const char* words) {
  throw std::runtime_error(words);
}

struct throws_when_left {
  ~throws_when_left() noexcept(false) {
    fail_with("bad luck: a destructor threw");
  }
};

/// Ends the process by std::terminate.
void end_by(kind how) {
  if (how == kind::terminate)
    []() noexcept { fail_with("bad luck: thrown where nobody may"); }();
  const throws_when_left last;
  fail_with("bad luck");
}

bool is_folder(int fd) {
  struct stat info {};
  return ::fstat(fd, &info) == 0 && S_ISDIR(info.st_mode);
}

/// Of one that was written just now, where such are slow.
void dawdle_behind_write(int fd) {
  char path[4096], line[64];
  if (which != kind::slow_writes || name_of(fd, path) == 0)
    return;
  if (std::strstr(path, "/out") == nullptr || is_journal(fd)) // by whatever name it goes by now
    return;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const int bytes = std::snprintf(line, sizeof line, "%ld.%09ld\n", now.tv_sec, now.tv_nsec);
  std::snprintf(path, sizeof path, "%s/writes", folder);
  const int log = ::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (::write(log, line, static_cast<std::size_t>(bytes)) != bytes)
    std::abort();
  ::close(log);
  ::usleep(static_cast<useconds_t>(after));
}

void dawdle() {
  if (which == kind::slow)
    ::usleep(static_cast<useconds_t>(after));
}

using main_call = int(int, char**, char**);
main_call* own_main = nullptr;
std::atomic<bool> in_main{false};

int enter_main(int count, char** words, char** environment) {
  in_main = true;
  return own_main(count, words, environment);
}

/// Whether this call gets no memory.
bool starves() {
  const auto what = which.load(std::memory_order_relaxed);
  if (!in_main || (what != kind::memory && what != kind::program_memory) || !strikes(what))
    return false;
  errno = ENOMEM;
  return true;
}

template <class Call>
Call* real(const char* name) {
  return reinterpret_cast<Call*>(::dlsym(RTLD_NEXT, name));
}

} // namespace

extern "C" {

int __libc_start_main(main_call* program, int count, char** words, void (*init)(), void (*fini)(),
                      void (*rtld_fini)(), void* stack) {
  using call = int(main_call*, int, char**, void (*)(), void (*)(), void (*)(), void*);
  own_main = program;
  return real<call>("__libc_start_main")(enter_main, count, words, init, fini, rtld_fini, stack);
}

ssize_t pwrite64(int fd, const void* bytes, std::size_t count, off64_t at) {
  static auto* const next = real<ssize_t(int, const void*, std::size_t, off64_t)>("pwrite64");
  if (which == kind::journal_write || which == kind::output_write) {
    const bool journal = is_journal(fd);
    if (strikes(journal ? kind::journal_write : kind::output_write)) {
      errno = journal ? ENOSPC : EIO;
      return -1;
    }
  }
  if (const auto how = which.load(); how == kind::terminate || how == kind::destructor)
    if (!is_journal(fd) && strikes(how))
      end_by(how);
  if (full && is_journal(fd)) {
    const auto room = std::max<off64_t>(reserved - at, 0);
    if (count > 0 && room == 0) {
      errno = ENOSPC;
      return -1;
    }
    count = std::min(count, static_cast<std::size_t>(room));
  }
  const auto put = next(fd, bytes, count, at);
  dawdle_behind_write(fd);
  return put;
}

ssize_t pwrite(int fd, const void* bytes, std::size_t count, off_t at) {
  return pwrite64(fd, bytes, count, at);
}

int fallocate64(int fd, int mode, off64_t at, off64_t count) {
  static auto* const next = real<int(int, int, off64_t, off64_t)>("fallocate64");
  const bool counts = which == kind::journal_full && is_journal(fd);
  if (counts && (full || strikes(kind::journal_full))) {
    full = true;
    errno = ENOSPC;
    return -1;
  }
  const int done = next(fd, mode, at, count);
  if (counts && done == 0)
    reserved = std::max<off64_t>(reserved, at + count);
  return done;
}

int fallocate(int fd, int mode, off_t at, off_t count) {
  return fallocate64(fd, mode, at, count);
}

int fsync(int fd) {
  static auto* const next = real<int(int)>("fsync");
  dawdle();
  if (which == kind::folder_sync && is_folder(fd) && strikes(kind::folder_sync)) {
    errno = EIO;
    return -1;
  }
  return next(fd);
}

int fdatasync(int fd) {
  static auto* const next = real<int(int)>("fdatasync");
  dawdle();
  if ((which == kind::journal_sync || which == kind::output_sync)
      && strikes(is_journal(fd) ? kind::journal_sync : kind::output_sync)) {
    errno = EIO;
    return -1;
  }
  return next(fd);
}

int posix_spawn(pid_t* pid, const char* path, const posix_spawn_file_actions_t* files,
                const posix_spawnattr_t* how, char* const argv[], char* const envp[]) {
  using call = int(pid_t*, const char*, const posix_spawn_file_actions_t*,
                   const posix_spawnattr_t*, char* const[], char* const[]);
  static auto* const next = real<call>("posix_spawn");
  return strikes(kind::spawn) ? EAGAIN : next(pid, path, files, how, argv, envp);
}

long syscall(long number, ...) noexcept {
  static auto* const next = real<long(long, ...)>("syscall");
  std::va_list rest;
  va_start(rest, number);
  long each[6];
  for (long& one : each)
    one = va_arg(rest, long);
  va_end(rest);
  if (number == SYS_clone && strikes(kind::spawn)) {
    errno = EAGAIN;
    return -1;
  }
  return next(number, each[0], each[1], each[2], each[3], each[4], each[5]);
}

void* malloc(std::size_t bytes) {
  if (starves())
    return nullptr;
  if (which == kind::hoard && strikes(kind::hoard))
    if (void* all = __libc_malloc(std::size_t{512} << 20))
      std::memset(all, 1, std::size_t{512} << 20);
  return __libc_malloc(bytes);
}

void* calloc(std::size_t count, std::size_t bytes) {
  return starves() ? nullptr : __libc_calloc(count, bytes);
}

void* realloc(void* old, std::size_t bytes) {
  return starves() ? nullptr : __libc_realloc(old, bytes);
}

void* aligned_alloc(std::size_t alignment, std::size_t bytes) {
  return starves() ? nullptr : __libc_memalign(alignment, bytes);
}

int posix_memalign(void** into, std::size_t alignment, std::size_t bytes) {
  void* made = starves() ? nullptr : __libc_memalign(alignment, bytes);
  if (made == nullptr)
    return ENOMEM;
  *into = made;
  return 0;
}

int clock_gettime(clockid_t clock, timespec* now) {
  static auto* const next = real<int(clockid_t, timespec*)>("clock_gettime");
  const int done = next(clock, now);
  if (which == kind::clock && clock == CLOCK_REALTIME && done == 0) {
    timespec steady{};
    next(CLOCK_MONOTONIC, &steady);
    now->tv_sec += steady.tv_nsec / 50'000'000 % 2 == 0 ? 3600 : -3600; // twenty jumps a second
  }
  return done;
}
}
