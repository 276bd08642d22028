#include "supervision/process.hpp"

#include "supervision/house.hpp"
#include "supervision/oom_kills.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <pthread.h>
#include <signal.h>

namespace viva::supervision {
namespace {

constexpr milliseconds tick_every{50};
// A clock this late was stopped with us: what wards did meanwhile nobody saw.
constexpr milliseconds tick_late{1'000};
constexpr milliseconds oom_look_every{1'000};
// A spawn holds the guardian's thread for a millisecond: first the one that was taken gets to work.
constexpr milliseconds spare_delay{5};

time_point now_is() {
  return std::chrono::steady_clock::now();
}

} // namespace

// -- house ---------------------------------------------------------------------------------------

void guardian::house::tick() {
  ticking = !lives.empty();
  if (!ticking)
    return;
  const auto at = now_is();
  const bool slept = last_tick != time_point{} && at - last_tick > tick_late;
  if (at - oom_counted > oom_look_every)
    count_oom_kills(at);
  memory_is_low = is_low(memory_left(meminfo));
  last_tick = at;
  for (const auto& each : std::set{lives})
    slept ? each->forgive(at) : each->check(at);
  // Those that no kill ends are not worth our own end.
  if (closing && std::ranges::all_of(lives, [](const auto& each) { return each->ended(); }))
    return io.stop();
  clock.expires_after(tick_every);
  clock.async_wait([this](const boost::system::error_code& stopped) {
    if (!stopped)
      tick();
  });
}

// A death is laid to a kill for memory of the last two looks' time, not to any before.
void guardian::house::count_oom_kills(time_point at) {
  const bool first = last_tick == time_point{};
  oom_counted = at;
  oom_kills_before = first ? oom_kills() : oom_kills_lately;
  oom_kills_lately = first ? oom_kills_before : oom_kills();
}

void guardian::house::close() {
  closing = true;
  for (const auto& each : std::set{lives})
    each->kill(fault::shutdown, {});
  nurseries.clear();
  open.reset();
  if (lives.empty())
    clock.cancel();
}

void guardian::house::bury(const std::shared_ptr<process::life>& who) {
  lives.erase(who);
  if (closing && lives.empty())
    clock.cancel();
}

void guardian::house::tell_lost_status(pid_t whose) {
  if (!std::exchange(lost_status_told, true))
    spdlog::warn("how process {} ended is not known: this program ignores SIGCHLD, or waits for "
                 "children that are not its own; from now on such ends are told as kills",
                 whose);
}

guardian::guardian(std::string meminfo) : x_house(std::make_shared<house>()) {
  x_house->meminfo = std::move(meminfo);
  // Signals are for the threads of whoever embeds us.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  x_house->thread = std::thread([keep = x_house.get()] { keep->io.run(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

guardian::~guardian() {
  x_house->run([keep = x_house.get()] { keep->close(); });
  x_house->thread.join();
  x_house->shut = true;
  boost::system::error_code ignored;
  for (const auto& each : x_house->lives) // those that no kill ended
    each->grave.close(ignored);
  x_house->lives.clear();
  x_house->nurseries.clear();
  x_house->io.restart();
  x_house->io.poll(); // what waited for them, or was posted last, holds the house
}

std::unique_ptr<process> guardian::start(process_options options) {
  auto life = std::make_shared<process::life>(x_house, std::move(options));
  x_house->run([life] { life->start(); });
  return std::unique_ptr<process>(new process(std::move(life)));
}

std::unique_ptr<process> guardian::start_later(process_options options, milliseconds delay) {
  auto life = std::make_shared<process::life>(x_house, std::move(options));
  x_house->run([life, delay] {
    life->delay.expires_after(delay);
    life->delay.async_wait([life](const boost::system::error_code&) { life->start(); });
  });
  return std::unique_ptr<process>(new process(std::move(life)));
}

// -- handle --------------------------------------------------------------------------------------

process::process(std::shared_ptr<life> whose) : x_life(std::move(whose)) {
}

process::~process() {
  x_life->home->run([who = x_life] {
    who->events = {};
    who->kill(fault::shutdown, {});
  });
}

void process::attach(process_events events) {
  x_life->home->run([who = x_life, events = std::move(events)]() mutable {
    who->events = std::move(events);
    if (who->now == life::phase::ready && who->events.on_ready)
      who->events.on_ready();
    if (who->now == life::phase::ended)
      who->finish(who->ending);
  });
}

void process::send(frame what) {
  x_life->home->run([who = x_life, what = std::move(what)]() mutable {
    who->outbox.push_back(std::move(what));
    who->speak();
  });
}

void process::expect_progress(milliseconds limit) {
  x_life->home->run([who = x_life, limit] {
    if (who->progress_limit == milliseconds{0})
      who->last_step = now_is();
    who->progress_limit = limit;
  });
}

void process::leave() {
  x_life->home->run([who = x_life] {
    who->leave_until = now_is() + who->options.grace;
    who->outbox.push_back({frame_kind::leave});
    who->speak();
  });
}

void process::kill(fault why, std::string words) {
  x_life->home->run([who = x_life, why, words = std::move(words)]() mutable {
    who->kill(why, std::move(words));
  });
}

pid_t process::pid() const noexcept {
  return x_life->pid.load();
}

// -- standby -------------------------------------------------------------------------------------

standby::standby(std::shared_ptr<guardian> keeper, process_options options, bool warm)
  : x_keeper(std::move(keeper)), x_options(std::move(options)), x_warm(warm) {
}

std::unique_ptr<process> standby::take() {
  if (!x_warm)
    return x_keeper->start(x_options);
  const auto how_it_is = x_spare ? x_state->load() : spare::ended;
  auto taken = how_it_is == spare::ready ? std::move(x_spare) : x_keeper->start(x_options);
  if (how_it_is == spare::starting)
    return taken;
  x_spare = x_keeper->start_later(x_options, spare_delay);
  x_state = std::make_shared<std::atomic<spare>>(spare::starting);
  const auto note = [state = x_state](spare what) { state->store(what); };
  x_spare->attach({.on_ready = [note] { note(spare::ready); },
                   .on_frame = {},
                   .on_end = [note](const process_end&) { note(spare::ended); }});
  return taken;
}

} // namespace viva::supervision
