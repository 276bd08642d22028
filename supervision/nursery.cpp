// Nurseries: programs that are loaded once, and forked whenever a ward is needed.
//
// Loading takes milliseconds (exec, symbols of the libraries), a fork of what is loaded a tenth of
// that. The guardian is never forked itself: its memory is large. CLONE_PARENT makes the new ward
// the guardian's child like any other: the guardian reaps it, and its end is the ward's, too.

#include "supervision/house.hpp"
#include "supervision/ward.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace viva::supervision {
namespace {

constexpr const char* nursery_words = "nursery";
constexpr std::uint16_t take_channel = frame_kind::first_free, take_page = take_channel + 1,
                        ward_made = take_channel + 2;
constexpr milliseconds nursery_delay{5}; // first the ward that was asked for gets to work
constexpr int answer_limit_ms = 100;     // it holds the guardian's thread; a fork takes a hundredth
// It has no heart: it sleeps until it is asked, and is found dead or deaf when it is.
constexpr std::chrono::hours nursery_heartbeat_limit{24 * 365};

/// A child of this process's parent, with all that this process has but its threads. Its number
/// stands in `born` before it runs, so that its parent finds it there if this process dies first.
pid_t fork_sibling(std::atomic<std::int32_t>& born) {
  born.store(0); // the page is there: within a fork the system would not bring it for one who dies
  return static_cast<pid_t>(
    ::syscall(SYS_clone, CLONE_PARENT | CLONE_PARENT_SETTID | SIGCHLD, 0, &born, 0, 0));
}

/// The page as this process sees it.
std::optional<pulse> look_into(const descriptor& page) {
  return pulse::join(descriptor{::fcntl(page.get(), F_DUPFD_CLOEXEC, ward_pulse_fd + 1)});
}

/// The descriptor of a frame of this kind; nothing where another came, or none.
std::shared_ptr<const descriptor> attached(const arrival& got, std::uint16_t kind) {
  const bool right = got.what == arrival::kind::frame && got.got.kind == kind;
  return right ? got.got.attached : nullptr;
}

} // namespace

bool ward::nurse() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (!is_guarded())
    return false;
  channel asked{descriptor{ward_channel_fd}};
  asked.send({frame_kind::ready, nursery_words, {}});
  for (;;) {
    const auto first = asked.receive();
    if (first.what == arrival::kind::frame && first.got.kind == frame_kind::leave)
      asked.send({frame_kind::goodbye, {}, {}});
    const auto talk = attached(first, take_channel);
    const auto page = talk ? attached(asked.receive(), take_page) : nullptr;
    auto seen = page ? look_into(*page) : std::nullopt;
    if (!seen)
      std::_Exit(0); // gone, told to leave, spoken to in another language, or without memory
    const pid_t made = fork_sibling(seen->page().born);
    if (made == 0) {
      ::setpgid(0, 0);
      asked.release();
      ::dup2(talk->get(), ward_channel_fd);
      ::dup2(page->get(), ward_pulse_fd);
      return true;
    }
    asked.send({ward_made, std::string(reinterpret_cast<const char*>(&made), sizeof made), {}});
  }
}

/// The number of a new process.
pid_t process::life::born(const gifts& with) {
  const auto& command = options.nursery;
  if (command.empty())
    return 0;
  auto& nursery = home->nurseries[command];
  if (nursery && is(nursery->ending.reason, fault::misconfigured))
    return 0; // that program is no nursery
  if (!nursery || nursery->now == phase::ended) {
    nursery = std::make_shared<life>(
      home, process_options{.command = command, .ready_words = nursery_words,
                            .heartbeat_limit = nursery_heartbeat_limit});
    nursery->delay.expires_after(nursery_delay);
    nursery->delay.async_wait([who = nursery](const boost::system::error_code&) { who->start(); });
    return 0;
  }
  if (nursery->now != phase::ready || nursery->deaf || nursery->known.killed_for)
    return 0;
  pid_t made = nursery->bear(with);
  if (made > 0 && (made != heart->page().born.load() || !home->has_unknown_child(made))) {
    nursery->kill(fault::protocol, "a nursery that names a stranger as its ward");
    made = -1;
  }
  if (made < 0)
    nursery->unanswered = std::move(heart);
  return made;
}

/// Asks this nursery for a ward.
pid_t process::life::bear(const gifts& with) {
  const auto sent = [&](std::uint16_t kind, const std::shared_ptr<const descriptor>& what) {
    return link.send({kind, {}, what}) == channel::sent::yes;
  };
  pollfd answer{link.native(), POLLIN, 0};
  const bool given = sent(take_channel, with.talk) && sent(take_page, with.page);
  if (given && ::poll(&answer, 1, answer_limit_ms) == 1) {
    const auto got = link.receive();
    pid_t made = 0;
    if (got.what == arrival::kind::frame && got.got.kind == ward_made
        && got.got.payload.size() == sizeof made)
      std::memcpy(&made, got.got.payload.data(), sizeof made);
    if (made > 0)
      return made;
  }
  kill(fault::protocol, "a nursery that makes no ward");
  return given ? -1 : 0;
}

/// Whether this is a child of ours that is nobody's ward yet: what a nursery says may be wrong, and
/// whom we take for a ward we kill. False where a host that reaps all children has had it.
bool guardian::house::has_unknown_child(pid_t who) const {
  const auto is_it = [who](const auto& each) { return each->pid.load() == who; };
  siginfo_t info{};
  return who > 0 && std::ranges::none_of(lives, is_it)
         && ::waitid(P_PID, static_cast<id_t>(who), &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/// The one it forked and did not tell of is a child of ours: nobody knows it, and nobody else will
/// bury it.
void process::life::end_newborn() {
  const pid_t left = unanswered->page().born.load();
  if (!home->has_unknown_child(left))
    return;
  auto newborn = std::make_shared<life>(home, process_options{});
  if (newborn->hold(left))
    return;
  newborn->heart = std::move(unanswered);
  newborn->kill(fault::shutdown, {});
  home->lives.insert(newborn);
  newborn->watch_for_end();
}

} // namespace viva::supervision
