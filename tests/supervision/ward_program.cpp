// A ward that does as a test tells it: `viva_test_ward MODE`, then one order a frame.
// `viva_test_ward nursery dies`: a nursery that is killed behind each fork, before it can answer;
// with `dies deaf` the one it forked never gets to know of its guardian.
// `viva_test_ward nursery lies NUMBER`: a nursery that forks nobody and names that process; with
// `page` its page names it, too.

#include "supervision/ward.hpp"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <stdexcept>

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace viva::supervision;

namespace {

[[noreturn]] void wait_for_ever() {
  for (;;)
    ::pause();
}

/// Bytes that are no frame that is due, another kind of wrong for each seed.
std::string nonsense(unsigned seed) {
  std::mt19937 random{seed};
  auto header = frame_header(16, 1, 8); // right but for what follows: 1 is due after `ready`
  std::string bytes{header.data(), header.size()};
  bytes += "payload.";
  switch (seed % 4) {
    case 0: // one bit of what is checked
      bytes[random() % 4] ^= static_cast<char>(1 << random() % 8);
      return bytes;
    case 1:
      bytes[8 + random() % 8] ^= static_cast<char>(1 << random() % 8);
      return bytes;
    case 2:
      return bytes.substr(0, 1 + random() % (bytes.size() - 1));
    default:
      bytes.resize(1 + random() % 5000);
      for (auto& each : bytes)
        each = static_cast<char>(random());
      return bytes;
  }
}

void throw_it() {
  throw std::runtime_error("thrown through noexcept");
}
void end_uncaught() noexcept {
  throw_it();
}

void obey(ward& me, const std::string& order) {
  const auto number = [&] { return std::atoi(order.c_str() + order.find(' ') + 1); };
  if (order.starts_with("echo "))
    me.send({frame_kind::first_free, order.substr(5), {}});
  else if (order.starts_with("mark "))
    me.mark(static_cast<std::uint64_t>(number()));
  else if (order.starts_with("raise "))
    ::raise(number());
  else if (order.starts_with("exit "))
    std::_Exit(number());
  else if (order.starts_with("nonsense ")) {
    const auto bytes = nonsense(static_cast<unsigned>(number()));
    ::send(ward_channel_fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    wait_for_ever();
  } else if (order == "long") {
    const std::string bytes(frame_header_bytes + frame_payload_max + 1, 'x');
    ::send(ward_channel_fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    wait_for_ever();
  } else if (order == "narrow") {
    const int bytes = 4096;
    ::setsockopt(ward_channel_fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    me.send({frame_kind::first_free, std::string(frame_payload_max, 'x'), {}});
    wait_for_ever();
  } else if (order == "odd") {
    me.send({9, {}, {}});
    wait_for_ever();
  } else if (order == "stall")
    wait_for_ever();
  else if (order == "hush")
    me.hold_breath(), wait_for_ever();
  else if (order == "throw")
    throw std::runtime_error("thrown on purpose");
  else if (order == "no memory")
    throw std::bad_alloc();
}

bool dies_forking = false, deaf_when_born = false, lies_in_its_page = false;
std::int32_t named = 0; // as its ward, by a nursery that lies

} // namespace

// The linker puts this in for `syscall`.
extern "C" long __real_syscall(long, long, long, long, long, long, long);
extern "C" long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f) {
  if (number == SYS_clone && named != 0) {
    if (lies_in_its_page)
      reinterpret_cast<std::atomic<std::int32_t>*>(c)->store(named);
    return named;
  }
  const long result = __real_syscall(number, a, b, c, d, e, f);
  if (number == SYS_clone && dies_forking && result > 0)
    ::raise(SIGKILL);
  if (number == SYS_clone && deaf_when_born && result == 0)
    wait_for_ever();
  return result;
}

int main(int count, char** words) {
  dies_forking = count > 2 && words[2] == std::string("dies");
  deaf_when_born = count > 3 && words[3] == std::string("deaf");
  if (count > 3 && words[2] == std::string("lies"))
    named = std::atoi(words[3]);
  lies_in_its_page = count > 4 && words[4] == std::string("page");
  if (count > 1 && words[1] == std::string("nursery") && !ward::nurse())
    return 2;
  auto me = ward::enter();
  if (!me) {
    std::fputs(me.error().c_str(), stderr);
    return 2;
  }
  const std::string mode = count > 1 ? words[1] : "obey";
  if (mode == "mute")
    wait_for_ever();
  (*me)->ready(mode == "stranger" ? "another build" : "test ward");
  try {
    while (const auto order = (*me)->next()) {
      if (order->payload == "terminate")
        end_uncaught();
      if (order->payload == "quit")
        return 0;
      obey(**me, order->payload);
    }
  } catch (...) {
    (*me)->die(std::current_exception());
  }
  return 0;
}
