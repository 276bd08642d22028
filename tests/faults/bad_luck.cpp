// Bad luck for a program that knows nothing of it, by LD_PRELOAD: calls that fail as a disk, a
// memory or a system that is at its end would let them, disks that are slow, clocks that jump.
//
//   BAD_LUCK="KIND AFTER FOLDER"   the (AFTER + 1)-th call of that kind in a process fails, if a
//                                  file FOLDER/token.N is left, which becomes FOLDER/fired.N: its
//                                  ctime is the moment. Later calls fail while tokens are left.
//   journal-write  ENOSPC of a pwrite to *.journal     journal-sync  EIO of its fdatasync
//   output-write   EIO of any other pwrite             output-sync   EIO of any other fdatasync
//   spawn          EAGAIN of a posix_spawn             memory        no malloc; of lanes alone
//   hoard          of lanes alone: a malloc takes and uses half a GiB more
//   clock          (AFTER, FOLDER unused) the wall clock jumps by an hour, back and forth
//   slow           every fdatasync takes AFTER microseconds more

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include <dlfcn.h>
#include <spawn.h>
#include <unistd.h>

extern "C" void* __libc_malloc(std::size_t);

namespace {

enum class kind {
  none, journal_write, journal_sync, output_write, output_sync, spawn, memory, hoard, clock, slow
};
constexpr const char* names[] = {"none",        "journal-write", "journal-sync", "output-write",
                                 "output-sync", "spawn",         "memory",       "hoard",
                                 "clock",       "slow"};

std::atomic<kind> which{kind::none};
long after = 0;
char folder[512];
std::atomic<long> calls{0};

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
  for (int i = 1; i <= static_cast<int>(kind::slow); ++i)
    if (std::strcmp(name, names[i]) == 0)
      which = static_cast<kind>(i);
  if ((which == kind::memory || which == kind::hoard) && !is_lane())
    which = kind::none;
}

/// One of the tokens, for this call alone.
bool strikes(kind what) {
  if (what != which || calls.fetch_add(1) < after)
    return false;
  char from[600], to[600];
  for (int i = 0; i < 1000; ++i) {
    std::snprintf(from, sizeof from, "%s/token.%d", folder, i);
    std::snprintf(to, sizeof to, "%s/fired.%d", folder, i);
    if (std::rename(from, to) == 0)
      return true;
  }
  which = kind::none; // all are gone
  return false;
}

bool is_journal(int fd) {
  char link[64], path[4096];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const auto bytes = ::readlink(link, path, sizeof path - 1);
  constexpr const char* end = ".journal";
  const auto length = static_cast<ssize_t>(std::strlen(end));
  return bytes >= length && std::memcmp(path + bytes - length, end, std::strlen(end)) == 0;
}

template <class Call>
Call* real(const char* name) {
  return reinterpret_cast<Call*>(::dlsym(RTLD_NEXT, name));
}

} // namespace

extern "C" {

ssize_t pwrite64(int fd, const void* bytes, std::size_t count, off64_t at) {
  static auto* const next = real<ssize_t(int, const void*, std::size_t, off64_t)>("pwrite64");
  if (which == kind::journal_write || which == kind::output_write) {
    const bool journal = is_journal(fd);
    if (strikes(journal ? kind::journal_write : kind::output_write)) {
      errno = journal ? ENOSPC : EIO;
      return -1;
    }
  }
  return next(fd, bytes, count, at);
}

ssize_t pwrite(int fd, const void* bytes, std::size_t count, off_t at) {
  return pwrite64(fd, bytes, count, at);
}

int fdatasync(int fd) {
  static auto* const next = real<int(int)>("fdatasync");
  if (which == kind::slow)
    ::usleep(static_cast<useconds_t>(after));
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

void* malloc(std::size_t bytes) {
  if (which == kind::memory && strikes(kind::memory)) {
    errno = ENOMEM;
    return nullptr;
  }
  if (which == kind::hoard && strikes(kind::hoard))
    if (void* all = __libc_malloc(std::size_t{512} << 20))
      std::memset(all, 1, std::size_t{512} << 20);
  return __libc_malloc(bytes);
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
