#include "supervision/scheduler.hpp"

#include <caf/logger.hpp>

// The worker's loop in CAF's header tells the logger, by a dynamic_cast and a lock, which actor it
// resumes: a tenth of a restart, for a log that Debian's CAF is built without.
#undef CAF_PUSH_AID_FROM_PTR
#define CAF_PUSH_AID_FROM_PTR(job) static_cast<void>(0)

#include <caf/actor_system_config.hpp>
#include <caf/policy/unprofiled.hpp>
#include <caf/scheduler/coordinator.hpp>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <unordered_set>
#include <utility>

namespace viva::supervision {
namespace {

// Of its base only the type is used, because the coordinator's interface names it: everything goes
// on to the clock whose thread runs.
class quiet_clock final : public caf::detail::thread_safe_actor_clock {
public:
  explicit quiet_clock(caf::detail::thread_safe_actor_clock& runs) : x_runs(runs) {
  }

  void set_ordinary_timeout(time_point t, caf::abstract_actor* self, caf::atom_value type,
                            std::uint64_t id) override {
    note(self);
    x_runs.set_ordinary_timeout(t, self, type, id);
  }
  void set_request_timeout(time_point t, caf::abstract_actor* self,
                           caf::message_id id) override {
    note(self);
    x_runs.set_request_timeout(t, self, id);
  }
  void set_multi_timeout(time_point t, caf::abstract_actor* self, caf::atom_value type,
                         std::uint64_t id) override {
    note(self);
    x_runs.set_multi_timeout(t, self, type, id);
  }
  void cancel_ordinary_timeout(caf::abstract_actor* self, caf::atom_value type) override {
    x_runs.cancel_ordinary_timeout(self, type);
  }
  void cancel_request_timeout(caf::abstract_actor* self, caf::message_id id) override {
    x_runs.cancel_request_timeout(self, id);
  }
  void cancel_timeouts(caf::abstract_actor* self) override {
    if (forget(self))
      x_runs.cancel_timeouts(self);
  }
  void schedule_message(time_point t, caf::strong_actor_ptr receiver,
                        caf::mailbox_element_ptr content) override {
    x_runs.schedule_message(t, std::move(receiver), std::move(content));
  }
  void schedule_message(time_point t, caf::group target, caf::strong_actor_ptr sender,
                        caf::message content) override {
    x_runs.schedule_message(t, std::move(target), std::move(sender), std::move(content));
  }
  void cancel_all() override {
    x_runs.cancel_all();
  }

private:
  void note(caf::abstract_actor* self) {
    const std::lock_guard lock{x_guard};
    x_timed.insert(self);
  }
  bool forget(caf::abstract_actor* self) {
    const std::lock_guard lock{x_guard};
    return x_timed.erase(self) > 0;
  }

  caf::detail::thread_safe_actor_clock& x_runs;
  std::mutex x_guard;
  std::unordered_set<caf::abstract_actor*> x_timed; // living actors that ever set a timeout
};

// A job that an actor hands in goes to the worker it runs on, which comes for the next one anyway:
// a sleeping worker is woken only for more than `short_queue`, and looks by itself every `nap`.
constexpr std::size_t short_queue = 4;
constexpr std::chrono::milliseconds nap{2};

class first_come final : public caf::policy::unprofiled {
public:
  struct coordinator_data {
    explicit coordinator_data(caf::scheduler::abstract_coordinator*) {
    }
    std::mutex guard;
    /// Shared: whoever wakes a worker may still be at it when that has run the job, and the system
    /// that the job was the last of is gone.
    std::shared_ptr<std::condition_variable> wake = std::make_shared<std::condition_variable>();
    std::deque<caf::resumable*> jobs;
    std::size_t asleep = 0;
  };
  struct worker_data {
    explicit worker_data(caf::scheduler::abstract_coordinator*) {
    }
  };

  template <class Coordinator>
  void central_enqueue(Coordinator* self, caf::resumable* job) {
    put(d(self), job, 0);
  }
  template <class Worker>
  void external_enqueue(Worker* self, caf::resumable* job) {
    put(d(self->parent()), job, 0);
  }
  template <class Worker>
  void internal_enqueue(Worker* self, caf::resumable* job) {
    put(d(self->parent()), job, short_queue);
  }
  template <class Worker>
  void resume_job_later(Worker* self, caf::resumable* job) {
    put(d(self->parent()), job, short_queue);
  }

  template <class Worker>
  caf::resumable* dequeue(Worker* self) {
    auto& shared = d(self->parent());
    std::unique_lock lock{shared.guard};
    while (shared.jobs.empty()) {
      ++shared.asleep;
      shared.wake->wait_for(lock, nap);
      --shared.asleep;
    }
    auto* job = shared.jobs.front();
    shared.jobs.pop_front();
    return job;
  }

  // Without a logger of its own the thread tells nobody of the actors that it resumes and wakes:
  // else the library looks each of them up, under a lock. A spawn gives the thread one.
  template <class Worker>
  void before_resume(Worker*, caf::resumable*) {
    caf::logger::set_current_actor_system(nullptr);
  }

  template <class Worker, class F>
  void foreach_resumable(Worker*, F) {
  }
  template <class Coordinator, class F>
  void foreach_central_resumable(Coordinator* self, F f) {
    auto& shared = d(self);
    const std::lock_guard lock{shared.guard};
    for (auto* job : std::exchange(shared.jobs, {}))
      f(job);
  }

private:
  static void put(coordinator_data& shared, caf::resumable* job, std::size_t may_wait) {
    std::shared_ptr<std::condition_variable> wake;
    {
      const std::lock_guard lock{shared.guard};
      shared.jobs.push_back(job);
      if (shared.asleep > 0 && shared.jobs.size() > may_wait)
        wake = shared.wake;
    }
    if (wake)
      wake->notify_one();
  }
};

using coordinator = caf::scheduler::coordinator<first_come>;

class fair_coordinator final : public coordinator {
public:
  explicit fair_coordinator(caf::actor_system& system)
      : coordinator(system), x_clock(coordinator::clock()) {
  }
  quiet_clock& clock() noexcept override {
    return x_clock;
  }

private:
  quiet_clock x_clock;
};

} // namespace

void use_fair_scheduler(caf::actor_system_config& config) {
  config.module_factories.push_back(
    [](caf::actor_system& system) -> caf::actor_system::module* {
      return new fair_coordinator(system); // CAF's modules are its own to delete
    });
}

} // namespace viva::supervision
