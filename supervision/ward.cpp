#include "supervision/ward.hpp"

#include "supervision/death.hpp"

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <new>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <chrono>
#include <stdexcept>

namespace viva::supervision {
namespace {

constexpr std::chrono::milliseconds beat_every{50};
constexpr int software_error = 70; // EX_SOFTWARE of sysexits.h

pulse* last_words = nullptr; // for std::terminate, which takes no argument

std::string text_of(const std::exception_ptr& thrown) noexcept {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "not a std::exception";
  }
}

[[noreturn]] void on_terminate() {
  if (const auto thrown = std::current_exception(); thrown && last_words != nullptr)
    last_words->say(text_of(thrown));
  std::abort();
}

/// Where memory runs out the system takes ours first: the guardian survives and starts another.
void volunteer_for_oom() {
  const descriptor score{::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC)};
  if (score && ::write(score.get(), "500", 3) != 3)
    return; // not permitted: the system chooses without our advice
}

} // namespace

// The other end is closed where the guardian ended before PR_SET_PDEATHSIG could be asked for. (Its
// number would not do: a guardian may be process 1 as well as whoever inherits its children.)
bool ward::is_guarded() {
  int type = 0;
  socklen_t bytes = sizeof type;
  pollfd other_end{ward_channel_fd, 0, 0};
  return ::getsockopt(ward_channel_fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0
         && type == SOCK_SEQPACKET && ::poll(&other_end, 1, 0) == 0;
}

tl::expected<std::unique_ptr<ward>, std::string> ward::enter() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const auto alone = [] {
    return tl::unexpected<std::string>(
      "this command works for a running viva, which starts it itself");
  };
  if (!is_guarded())
    return alone();
  channel link{descriptor{ward_channel_fd}};
  auto page = pulse::join(descriptor{ward_pulse_fd});
  if (!page)
    return alone();
  ::fcntl(ward_channel_fd, F_SETFD, FD_CLOEXEC);
  ::fcntl(ward_pulse_fd, F_SETFD, FD_CLOEXEC);
  volunteer_for_oom();
  return std::unique_ptr<ward>(new ward(std::move(link), std::move(*page)));
}

ward::ward(channel link, pulse page) : x_link(std::move(link)), x_pulse(std::move(page)) {
  last_words = &x_pulse;
  std::set_terminate(on_terminate);
  x_heart = std::thread([this] { beat(); });
}

ward::~ward() {
  hold_breath();
  last_words = nullptr;
}

void ward::hold_breath() {
  {
    const std::lock_guard lock{x_guard};
    x_still = true;
  }
  x_wake.notify_one();
  if (x_heart.joinable())
    x_heart.join();
}

void ward::beat() {
  std::unique_lock lock{x_guard};
  while (!x_still) {
    x_pulse.page().beats.fetch_add(1, std::memory_order_relaxed);
    x_wake.wait_for(lock, beat_every);
  }
}

void ward::ready(std::string words) {
  send({frame_kind::ready, std::move(words), {}});
}

std::optional<frame> ward::next() {
  auto got = x_link.receive();
  if (got.what != arrival::kind::frame)
    return std::nullopt; // gone; or nonsense from the one we trust, which ends us, too
  if (got.got.kind == frame_kind::leave) {
    send({frame_kind::goodbye, {}, {}});
    return std::nullopt;
  }
  return std::move(got.got);
}

bool ward::send(frame what) {
  const auto done = x_link.send(what);
  if (done == channel::sent::too_long)
    throw std::runtime_error(too_long_text(what.payload.size()));
  return done == channel::sent::yes;
}

void ward::mark(std::uint64_t what) noexcept {
  x_pulse.page().mark.store(what, std::memory_order_relaxed);
  step();
}

void ward::die(int code, const std::string& words) noexcept {
  x_pulse.say(words);
  std::_Exit(code);
}

void ward::die(const std::exception_ptr& of) noexcept {
  x_pulse.say(text_of(of));
  int code = software_error;
  try {
    std::rethrow_exception(of);
  } catch (const std::bad_alloc&) {
    code = exit_words::oom;
  } catch (...) {
    code = software_error;
  }
  std::_Exit(code);
}

} // namespace viva::supervision
