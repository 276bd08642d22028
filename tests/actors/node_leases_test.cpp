// Leases: that they are over before a coordinator gives the work to others, and who sees them.

#include "actors/node/beat_log.hpp"
#include "actors/node/leases.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/in_child.hpp"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <deque>
#include <random>

namespace {

using namespace std::chrono_literals;
using viva::actors::lease;
using viva::actors::node::beat_log;
using viva::actors::node::leases;
using viva::actors::node::life;
using viva::actors::node::liveness_policy;

/// A node and its coordinator, whose beats take their time, in order, and some of which never come.
class story {
public:
  explicit story(std::uint32_t seed, int delay_ms = 800) : x_dice(seed), x_delay_ms(delay_ms) {
    x_right = x_leases.grant(epoch, join, x_now).value();
  }

  /// The network is whole, and slow.
  void pass(std::chrono::milliseconds time) {
    for (const auto until = x_now + time; x_now < until;)
      step();
  }
  void cut(bool there, bool back) {
    x_to_node.whole = !there;
    x_to_coordinator.whole = !back;
  }
  bool given_up() const {
    return x_life == life::lost;
  }
  bool holds(lease::time ago = 0ns) const {
    return x_right->holds(x_now - ago);
  }
  void step() {
    x_now += 1ms;
    if (x_now % 100ms == x_phase) {
      x_life = x_policy.look(steady());
      x_to_node.send(x_now, x_theirs, delay());
    }
    if (x_now % 100ms == 0ns)
      x_to_coordinator.send(x_now, x_own, delay());
    while (const auto came = x_to_node.take(x_now)) {
      x_own.hear(came->number);
      if (const auto said = x_own.when(came->heard))
        x_leases.heard(epoch, join, *said);
    }
    while (const auto came = x_to_coordinator.take(x_now)) {
      x_theirs.hear(came->number);
      x_policy.heard(steady());
    }
  }

private:
  static constexpr std::uint64_t epoch = 7, join = 9;
  struct beat {
    lease::time comes{0};
    std::uint64_t number = 0, heard = 0;
  };
  struct way {
    std::deque<beat> under_way{};
    bool whole = true;

    void send(lease::time now, beat_log& by, lease::time takes) {
      const auto comes = under_way.empty() ? now + takes
                                           : std::max(now + takes, under_way.back().comes);
      const auto number = by.say(now);
      if (whole)
        under_way.push_back({comes, number, by.heard()});
    }
    std::optional<beat> take(lease::time now) {
      if (under_way.empty() || under_way.front().comes > now)
        return std::nullopt;
      const auto first = under_way.front();
      under_way.pop_front();
      return first;
    }
  };
  lease::time delay() {
    return std::chrono::milliseconds{std::uniform_int_distribution<int>{0, x_delay_ms}(x_dice)};
  }
  liveness_policy::time_point steady() const {
    return liveness_policy::time_point{x_now};
  }

  std::mt19937 x_dice;
  int x_delay_ms;
  lease::time x_now{1h}, x_phase = std::chrono::milliseconds{x_dice() % 100};
  leases x_leases;
  viva::actors::lease_ptr x_right;
  liveness_policy x_policy{{}, steady()};
  beat_log x_own, x_theirs;
  way x_to_node, x_to_coordinator;
  life x_life = life::waiting;
};

} // namespace

TEST_CASE("node leases: one is over 0.9 s before its node is given up, whichever way is cut",
          "[node]") {
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    CAPTURE(seed);
    story of(seed);
    of.pass(std::chrono::milliseconds{seed * 37 % 5'000});
    REQUIRE_FALSE(of.given_up());
    REQUIRE(of.holds()); // beats of 0.8 s each way cost nobody his right
    of.cut(seed % 3 != 0, seed % 3 != 1);
    for (int i = 0; i < 10'000 && !of.given_up(); ++i)
      of.step();
    if (seed % 3 == 1) { // it hears nothing, and is heard
      CHECK_FALSE(of.given_up());
      CHECK_FALSE(of.holds());
      continue;
    }
    REQUIRE(of.given_up());
    CHECK_FALSE(of.holds(900ms));
  }
}

TEST_CASE("node leases: what heals in time holds again, and of another meeting nothing does",
          "[node]") {
  story of(1, 100);
  of.pass(1s);
  of.cut(true, true);
  of.pass(2'800ms);
  CHECK_FALSE(of.holds());
  CHECK_FALSE(of.given_up());
  of.cut(false, false);
  of.pass(2s);
  CHECK(of.holds());
  CHECK_FALSE(of.given_up());

  leases all;
  const auto first = all.grant(1, 1, 0s).value(), second = all.grant(1, 2, 0s).value();
  all.heard(1, 2, 10s);
  CHECK_FALSE(first->holds(5s));
  CHECK(second->holds(5s));
  CHECK(all.ran_out() == 0);
  CHECK(all.look(5s).ran_out == 1);
  CHECK(all.look(6s).ran_out == 0); // told once
  all.heard(1, 1, 6s);
  CHECK(all.look(7s).hold_again == 1);
  CHECK(all.ran_out() == 1);
  all.end(1, 1, 7s); // which is no loss
  CHECK_FALSE(first->holds(7s));
  all.heard(1, 1, 20s); // its session is over
  CHECK_FALSE(first->holds(7s));
  CHECK(all.look(8s).ran_out == 0);
  all.end(1, 2, 13s); // its node woke, and nobody had looked since
  CHECK(all.look(14s).ran_out == 1);
  CHECK(all.ran_out() == 2);
}

TEST_CASE("node leases: one meeting has one, which a second hello does not replace", "[node]") {
  leases all;
  const auto first = all.grant(1, 1, 0s).value();
  const auto second = all.grant(1, 1, 60s);
  REQUIRE_FALSE(second);
  CHECK(second.error().code == viva::errc::interrupted); // met anew it may come in
  CHECK_FALSE(first->holds(5s));
  all.heard(1, 1, 5s);
  CHECK(first->holds(6s));
  all.end(1, 1);
  CHECK_FALSE(first->holds(6s));
  CHECK(all.grant(1, 1, 0s));
}

TEST_CASE("node leases: beats of which nobody knows when they were said extend nothing", "[node]") {
  beat_log log;
  CHECK_FALSE(log.when(0));
  CHECK_FALSE(log.has_said(1));
  for (int i = 1; i <= 70; ++i)
    log.say(std::chrono::seconds{i});
  CHECK(log.when(70) == lease::time{70s});
  CHECK(log.when(7) == lease::time{7s});
  CHECK_FALSE(log.when(6)); // too long ago
  CHECK_FALSE(log.when(71));
}

TEST_CASE("leases: another process sees what the first does, and can do nothing itself") {
  const auto own = lease::make(10s).value();
  const auto seen = lease::join(*own->page()).value();
  CHECK(seen->holds(9s));
  CHECK_FALSE(seen->holds(10s));
  own->extend(20s);
  own->extend(15s); // never back
  CHECK(seen->holds(19s));
  const std::int64_t late = 1'000'000'000'000;
  CHECK(::pwrite(own->page()->get(), &late, sizeof late, 0) < 0);
  CHECK(::ftruncate(own->page()->get(), 0) != 0);
  CHECK(::mmap(nullptr, sizeof late, PROT_READ | PROT_WRITE, MAP_SHARED, own->page()->get(), 0)
        == MAP_FAILED);
  own->end();
  own->extend(30s);
  CHECK_FALSE(seen->holds(1s));
  const viva::supervision::descriptor other{::memfd_create("viva-test", MFD_CLOEXEC)};
  CHECK_FALSE(lease::join(other));
}

namespace {

/// From now on this process has a system that knows no F_SEAL_FUTURE_WRITE, as before Linux 5.1.
bool forget_future_write() {
  const auto low_word = [](unsigned argument) { // little-endian, as every machine of a build
    return static_cast<unsigned>(offsetof(seccomp_data, args) + 8 * argument);
  };
  sock_filter rules[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fcntl, 0, 5),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, low_word(1)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, F_ADD_SEALS, 0, 3),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, low_word(2)),
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, F_SEAL_FUTURE_WRITE, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const sock_fprog all{std::size(rules), rules};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
         && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all) == 0;
}

} // namespace

TEST_CASE("leases: a system that knows no seal against writing grants them, sealed in size") {
  if (!viva::tests::holds_in_child(forget_future_write)) {
    WARN("skipped: needs the right to filter its own system calls");
    return;
  }
  CHECK(viva::tests::holds_in_child([] {
    forget_future_write();
    const int other = ::memfd_create("viva-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    const bool forgot = ::fcntl(other, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) != 0 && errno == EINVAL;
    const auto own = lease::make(10s);
    return forgot && own && ::ftruncate((*own)->page()->get(), 0) != 0
           && lease::join(*(*own)->page()).value()->holds(9s)
           && ::fcntl((*own)->page()->get(), F_GET_SEALS)
                == (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  }));
}
