#pragma once

// The CAF shell around policy.hpp; private to this folder.
//
// It does one thing at a time, an *episode*: children to stop (last first), then children to start
// (first to last). A start may wait for a child's word and a stop for its end, so between two
// steps the mailbox is served. What arrives meanwhile waits in the backlog; only an ending pushes
// ahead. Every handler notes what happened and calls `proceed`, which alone moves the episode on.

#include "supervision/episode.hpp"
#include "supervision/spawn.hpp"
#include "supervision/supervisor.hpp"

#include <deque>
#include <future>
#include <optional>
#include <random>

namespace viva::supervision {

/// Fills the services that `options` leaves unset.
void inherit(supervisor_options& options, const supervisor_options& from);

class supervisor_actor final : public measured<caf::event_based_actor> {
public:
  supervisor_actor(caf::actor_config& config, init_function init, supervisor_options inherited,
                   caf::actor_addr parent, std::shared_ptr<std::promise<caf::error>> booted);

  caf::behavior make_behavior() override;
  void on_exit() override;
  const char* name() const override {
    return "supervisor";
  }
  const supervisor_options& options() const noexcept {
    return x_options;
  }

private:
  enum class phase : std::uint8_t { starting, running, ending };
  enum class step : std::uint8_t { done, waiting, changed }; // changed: look at the episode anew
  using table = std::map<serial, child>;

  // supervisor_actor.cpp: lives
  void boot();
  void booted(const caf::error& why);
  void proceed();
  bool stops_done();
  step starts_done();
  void finish_episode();
  bool idle() const noexcept;
  episode& begin(episode::kind what);
  void begin_ending(caf::error reason);
  void on_down(caf::down_msg& down);
  void decide(serial id);
  void drop_or_keep(table::iterator who);
  bool any_significant_left() const;

  // supervisor_restarts.cpp: whether, when, and with whom
  void open_windows();
  std::optional<milliseconds> admit(child& who);
  void restart(serial id, child& who);
  void begin_restart(serial culprit, milliseconds delay);
  bool plan_starts();
  bool starts_again(serial id, child& who, const caf::error& why);
  void try_again(serial id);
  void owe(child& who, bool is_owed);
  void bring_back();

  // supervisor_children.cpp: one child
  table::iterator place_of(serial id); ///< The end where it is gone.
  child& insert(std::shared_ptr<child_spec> spec, caf::message args, serial& id);
  table::iterator erase(table::iterator who);
  void enter(child& who, life state);
  step start(serial id, child& who);
  step adopt(serial id, child& who, caf::actor handle, bool is_up);
  void now_up(child& who);
  void forget_start(child& who);
  void tell_down(child& who, const caf::error& reason);
  void tell_end(const child& who, report_context context) const;
  void ignored(serial id);
  void refused(serial id, child& who, caf::error why);
  void start_failed(serial id, caf::error why);
  static bool is_odd(const child& who, const caf::error& reason);
  bool begin_stop(serial id, child& who, bool own_deadline);
  void kill(serial id, child& who);
  void abandon(serial id, child& who);
  void forget_handle(child& who);
  void set_deadline(serial id, child& who, alarm what, milliseconds after);
  void clear_deadline(child& who);
  void arm();
  void on_timer();
  void on_alarm(const deadline& due);
  void post(report_kind kind, report_context context, const child* who, caf::error reason) const;
  std::string full_name(const child& who) const;

  // supervisor_orders.cpp: the dynamic API
  caf::behavior orders();
  template <class Order>
  caf::response_promise accept(Order order);
  void refuse_orders(); ///< Those that wait: it ends.
  void execute(start_child& order, caf::response_promise answer);
  void execute(start_instance& order, caf::response_promise answer);
  void execute(restart_child& order, caf::response_promise answer);
  void execute(terminate_child& order, caf::response_promise answer);
  void execute(terminate_instance& order, caf::response_promise answer);
  void execute(delete_child& order, caf::response_promise answer);
  void execute(change& order, caf::response_promise answer);
  void begin_start_one(serial id, bool keep_on_failure, caf::response_promise answer);
  void begin_stop_one(serial id, caf::response_promise answer);
  child* find(const std::string& id, serial& number);
  std::optional<serial> find_stopped(const std::string& name, caf::response_promise& answer);
  child_info info_of(const child& who) const;
  bool simple() const noexcept {
    return x_options.how == strategy::simple_one_for_one;
  }

  init_function x_init;
  supervisor_options x_options;
  caf::actor_addr x_parent;
  std::shared_ptr<std::promise<caf::error>> x_booted;
  std::shared_ptr<const std::string> x_name;
  std::shared_ptr<census_page> x_page;
  phase x_phase = phase::starting;
  restart_window x_window, x_memory_window;
  std::minstd_rand x_random;
  table x_children;
  serial x_last_serial = 0;
  flat_table<std::string_view, serial> x_ids; // keys are in the specs; not under simple
  flat_table<const caf::actor_control_block*, serial> x_by_address; // those with a handle
  std::shared_ptr<child_spec> x_template;                                    // simple only
  std::size_t x_supervisors = 0; // children of type supervisor
  std::size_t x_stopping = 0;    // children told to stop and not down yet
  std::size_t x_owed = 0;        // children that a group restart owes their start
  episode x_episode;
  std::deque<waiting> x_backlog;
  std::vector<caf::response_promise> x_await_up;
  std::vector<caf::response_promise> x_await_end;
  std::vector<listener> x_listeners;
  deadlines x_deadlines;
  caf::message_id x_timer;
  time_point x_armed_at = time_point::max();
  caf::error x_exit_reason;
};

} // namespace viva::supervision

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::supervision::retry_now)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::supervision::boot_now)
