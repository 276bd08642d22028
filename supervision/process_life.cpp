#include "supervision/house.hpp"
#include "supervision/oom_kills.hpp"
#include "supervision/ward.hpp"

#include <spdlog/spdlog.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" char** environ;

namespace viva::supervision {
namespace {

using wait_for = boost::asio::posix::stream_descriptor;

// glibc's <sys/pidfd.h> of 2.36 declares nothing extern "C".
int pidfd_of(pid_t pid) {
  return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
}

int kill_by(int pidfd) {
  return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0));
}

std::string text_of(milliseconds time) {
  return std::to_string(time.count()) + " ms";
}

/// Attributes and file actions of one posix_spawn.
class spawn_plan {
public:
  spawn_plan(int channel, int page) {
    ::posix_spawn_file_actions_init(&x_files);
    ::posix_spawn_file_actions_addopen(&x_files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    // Standard output belongs to the guardian's own documents.
    ::posix_spawn_file_actions_adddup2(&x_files, STDERR_FILENO, STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&x_files, channel, ward_channel_fd);
    ::posix_spawn_file_actions_adddup2(&x_files, page, ward_pulse_fd);
    ::posix_spawn_file_actions_addclosefrom_np(&x_files, ward_pulse_fd + 1);
    ::posix_spawnattr_init(&x_how);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    ::posix_spawnattr_setsigmask(&x_how, &none);
    ::posix_spawnattr_setsigdefault(&x_how, &all);
    ::posix_spawnattr_setpgroup(&x_how, 0); // Ctrl-C is for the guardian
    ::posix_spawnattr_setflags(&x_how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
                                         | POSIX_SPAWN_SETPGROUP);
  }
  spawn_plan(const spawn_plan&) = delete;
  ~spawn_plan() {
    ::posix_spawnattr_destroy(&x_how);
    ::posix_spawn_file_actions_destroy(&x_files);
  }
  int run(pid_t& pid, const std::vector<std::string>& command) const {
    std::vector<char*> argv;
    for (const auto& word : command)
      argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    return ::posix_spawn(&pid, argv[0], &x_files, &x_how, argv.data(), environ);
  }

private:
  posix_spawn_file_actions_t x_files;
  posix_spawnattr_t x_how;
};

/// What the system has too little of may come back: such a start is tried again.
caf::error cannot_start(const std::string& doing, int reason) {
  const bool passes
    = reason == EAGAIN || reason == ENOMEM || reason == EMFILE || reason == ENFILE;
  return make_error(passes ? fault::temporary : fault::start_failed,
                    doing + ": " + std::strerror(reason));
}

} // namespace

caf::error process::life::spawn() {
  std::optional<std::pair<channel, channel>> ends;
  gifts given;
  if (auto why = prepare(ends, given))
    return why;
  pid_t made = born(given);
  if (made < 0) { // it may live all the same: that channel and that page are its own
    if (auto why = prepare(ends, given))
      return why;
    made = 0;
  }
  if (made == 0)
    if (const int reason
        = spawn_plan{given.talk->get(), given.page->get()}.run(made, options.command))
      return cannot_start(options.command.front(), reason);
  if (auto why = hold(made))
    return why;
  link = std::move(ends->first);
  ::fcntl(link.native(), F_SETFL, O_NONBLOCK);
  talk.assign(link.native());
  return {};
}

caf::error process::life::hold(pid_t made) {
  const int pidfd = pidfd_of(made);
  if (pidfd < 0) {
    const int reason = errno;
    ::kill(made, SIGKILL);
    ::waitpid(made, nullptr, 0);
    return cannot_start("no pidfd", reason);
  }
  grave.assign(pidfd);
  pid = made;
  return {};
}

/// A new channel and a new page, and copies of them to give away.
caf::error process::life::prepare(std::optional<std::pair<channel, channel>>& ends,
                                  gifts& given) {
  ends = channel::make_pair();
  if (!ends)
    return cannot_start("no socket", errno);
  heart = pulse::make();
  if (!heart)
    return cannot_start("no memory to share", errno);
  // Above all that the ward gets, so that no dup2 hits the source of the next.
  const auto copied = [](int fd) {
    return std::make_shared<const descriptor>(::fcntl(fd, F_DUPFD_CLOEXEC, ward_pulse_fd + 1));
  };
  given = {copied(ends->second.native()), copied(heart->native())};
  if (!*given.talk || !*given.page)
    return cannot_start("no descriptor", errno);
  return {};
}

void process::life::start() {
  if (home->closing || known.killed_for) // it was dropped before it began
    return finish({make_error(fault::shutdown), 0});
  if (auto why = spawn())
    return finish({std::move(why), 0});
  started = last_beat = last_step = std::chrono::steady_clock::now();
  home->lives.insert(shared_from_this());
  if (!home->ticking) {
    home->last_tick = {};
    home->tick();
  }
  watch_for_end();
  hear();
  speak();
}

void process::life::hear() {
  talk.async_wait(wait_for::wait_read,
                  [self = shared_from_this()](const boost::system::error_code& stopped) {
                    if (stopped || self->now == phase::ended)
                      return;
                    self->listen();
                    if (!self->deaf)
                      self->hear();
                  });
}

void process::life::listen() {
  while (!deaf) {
    auto next = link.receive();
    switch (next.what) {
      case arrival::kind::frame:
        take(std::move(next.got));
        break;
      case arrival::kind::nothing:
        return;
      case arrival::kind::gone: // it ends, or it has closed its channel and must
        deaf = true;
        if (leave_until == time_point{})
          leave_until = std::chrono::steady_clock::now() + options.grace;
        return;
      case arrival::kind::nonsense:
        kill(fault::protocol, std::move(next.why));
        deaf = true;
        return;
    }
  }
}

void process::life::take(frame&& what) {
  if (now == phase::starting) {
    if (what.kind != frame_kind::ready || what.payload != options.ready_words) {
      deaf = true;
      return kill(fault::misconfigured,
                  "it is '" + what.payload.substr(0, 100) + "', expected is '"
                    + options.ready_words + "'");
    }
    now = phase::ready;
    last_beat = last_step = std::chrono::steady_clock::now();
    if (events.on_ready)
      events.on_ready();
    return;
  }
  if (what.kind == frame_kind::goodbye) {
    known.said_goodbye = true;
  } else if (what.kind >= frame_kind::first_free && events.on_frame) {
    events.on_frame(std::move(what));
  } else {
    deaf = true;
    kill(fault::protocol, "a frame of kind " + std::to_string(what.kind) + " that nobody awaits");
  }
}

void process::life::speak() {
  if (pid.load() == 0 || now == phase::ended || writing)
    return;
  while (!outbox.empty()) {
    const auto done = link.send(outbox.front());
    if (done == channel::sent::gone)
      outbox.clear(); // its end is being seen elsewhere
    if (done == channel::sent::too_long) {
      kill(fault::misconfigured, too_long_text(outbox.front().payload.size()));
      outbox.clear();
    }
    if (done == channel::sent::later) {
      writing = true;
      return talk.async_wait(
        wait_for::wait_write, [self = shared_from_this()](const boost::system::error_code&) {
          self->writing = false;
          self->speak();
        });
    }
    if (done == channel::sent::yes)
      outbox.pop_front();
  }
}

void process::life::kill(fault why, std::string words) {
  if (now == phase::ended || known.killed_for)
    return;
  known.killed_for = why;
  known.words = std::move(words);
  killed_at = std::chrono::steady_clock::now();
  if (pid.load() != 0)
    kill_by(grave.native_handle());
}

void process::life::watch_for_end() {
  grave.async_wait(wait_for::wait_read,
                   [self = shared_from_this()](const boost::system::error_code& stopped) {
                     if (!stopped)
                       self->reap();
                   });
}

void process::life::reap() {
  siginfo_t info{};
  const auto how = static_cast<idtype_t>(P_PIDFD);
  const auto which = static_cast<id_t>(grave.native_handle());
  const bool mine = ::waitid(how, which, &info, WEXITED | WNOHANG) == 0;
  // Asio may wake a waiter for an event of the descriptor that had its place before, and it has
  // made the pidfd non-blocking: whoever lives is no child that somebody else reaped.
  if (mine ? info.si_pid == 0 : errno == EAGAIN)
    return watch_for_end();
  if (!ended())
    tell_end(mine ? std::optional{exit_status{info.si_code == CLD_EXITED, info.si_status}}
                  : std::nullopt);
  boost::system::error_code ignored;
  grave.close(ignored);
  if (unanswered)
    end_newborn();
  home->bury(shared_from_this());
}

void process::life::tell_end(std::optional<exit_status> how) {
  if (now == phase::ready)
    listen(); // what it said before
  if (known.words.empty())
    known.words = heart->words();
  if (!how) {
    home->tell_lost_status(pid.load());
    how = exit_status{false, SIGKILL}; // what is left to know is that it ended
  }
  if (!how->exited && how->number == SIGKILL)
    known.memory_was_short = home->memory_is_low || oom_kills() > home->oom_kills_before;
  const auto mark = heart->page().mark.load();
  part();
  finish({judge_death(*how, known), mark});
}

// SIGKILL was long ago: it sits in a call of the kernel's that does not return. Its owner goes on
// without it, and what was said of its work holds; it is still watched, and buried when it ends.
void process::life::give_up() {
  spdlog::warn("process {} does not end although killed; the system may hold what was its own",
               pid.load());
  const auto mark = heart->page().mark.load();
  part();
  finish({make_error(*known.killed_for, known.words + (known.words.empty() ? "" : ": ")
                                          + "does not end although killed"),
          mark});
}

void process::life::part() {
  talk.release(); // the socket is link's
  link = channel{};
  heart.reset();
  outbox.clear();
}

void process::life::finish(process_end how) {
  now = phase::ended;
  ending = std::move(how);
  auto told = std::exchange(events, {});
  if (told.on_end)
    told.on_end(ending);
}

void process::life::forgive(time_point at) {
  last_beat = last_step = killed_at = at;
  if (now == phase::starting)
    started = at;
}

void process::life::check(time_point at) {
  if (ended()) // told, and not buried yet
    return;
  if (known.killed_for) {
    if (at - killed_at > options.kill_limit)
      give_up();
    return;
  }
  if (leave_until != time_point{} && at > leave_until)
    return kill(deaf ? fault::protocol : fault::shutdown, deaf ? "it closed its channel" : "");
  if (now == phase::starting) {
    if (at - started > options.start_limit)
      kill(fault::start_timed_out, "not ready within " + text_of(options.start_limit));
    return;
  }
  const auto beats = heart->page().beats.load(std::memory_order_relaxed);
  const auto progress = heart->page().progress.load(std::memory_order_relaxed);
  if (std::exchange(beats_seen, beats) != beats)
    last_beat = at;
  if (std::exchange(progress_seen, progress) != progress)
    last_step = at;
  if (at - last_beat > options.heartbeat_limit)
    return kill(fault::hang, "no heartbeat for " + text_of(options.heartbeat_limit));
  if (progress_limit > milliseconds{0} && at - last_step > progress_limit)
    kill(fault::stalled, "no progress for " + text_of(progress_limit));
}

} // namespace viva::supervision
