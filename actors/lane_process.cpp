#include "actors/lane_process.hpp"

#include "actors/assignment.hpp"
#include "actors/known_answer.hpp"
#include "actors/lane.hpp"
#include "actors/lane_frames.hpp"
#include "actors/pipeline/tensor_ward.hpp"
#include "actors/resident_memory.hpp"
#include "actors/shard_work.hpp"
#include "formats/read_log.hpp"
#include "supervision/death.hpp"
#include "supervision/ward.hpp"

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace viva::actors {
namespace {

using supervision::ward;

/// The job in hand; an error is told in answer to every batch.
struct job_in_hand {
  plan work;
  workplace place;
};

/// What this process works with.
struct workbench {
  ward& me;
  device_engine* device; ///< Null where the processor does all.
  expected<job_in_hand> job = fail(errc::fault, "a lane was given work before a job");
  lease_ptr right{}; ///< Of the next job.

  engine& on(const lane_task& order) const {
    if (device == nullptr)
      return processor();
    device->use_device(order.task.device);
    device->pretend_no_memory(order.fault == lane_fault::no_memory);
    return *device;
  }
};

// Every file that planning reads is a step: on a slow file system it may take longer than a shard.
expected<job_in_hand> set_up(const supervision::frame& order, ward& me, lease_ptr right) {
  const formats::read_log reads([&] { me.step(); });
  const auto bytes = unpack(order);
  if (!bytes)
    return tl::unexpected(bytes.error());
  const auto given = decode_assignment(*bytes);
  if (!given)
    return tl::unexpected(given.error());
  auto work = plan_again(*given);
  if (!work)
    return tl::unexpected(work.error());
  me.step();
  auto place =
    workplace::join(*work, output_of(*given), given->partial, me.steps(), std::move(right));
  if (!place)
    return tl::unexpected(place.error());
  me.step();
  return job_in_hand{std::move(*work), std::move(*place)};
}

[[noreturn]] void run_out_of_memory() {
  const rlimit little{64u << 20, 64u << 20};
  ::setrlimit(RLIMIT_AS, &little);
  for (std::vector<std::unique_ptr<char[]>> hoard;;)
    hoard.push_back(std::make_unique<char[]>(1u << 20));
}

/// The thread does nothing else; the heart beats on.
[[noreturn]] void spin() {
  for (std::atomic<std::uint64_t> turns{0};;)
    turns.fetch_add(1, std::memory_order_relaxed);
}

/// Faults put in on purpose; the guardian sends none unless it was allowed to.
void end_by(lane_fault how) {
  if (how != lane_fault::none && how != lane_fault::raise && how != lane_fault::no_memory)
    std::fputs((fault_put_in() + "\n").c_str(), stderr);
  switch (how) {
    case lane_fault::none:
    case lane_fault::no_memory: // its device's affair
      return;
    case lane_fault::sticky:
      throw device_ended(supervision::exit_words::device_sticky, fault_put_in());
    case lane_fault::raise:
      throw std::runtime_error(fault_put_in());
    case lane_fault::crash:
      ::raise(SIGSEGV);
      break;
    case lane_fault::abort:
      std::abort();
    case lane_fault::hang:
      spin();
    case lane_fault::oom:
      run_out_of_memory();
    case lane_fault::garbage:
      ::send(supervision::ward_channel_fd, "garbage", 7, MSG_NOSIGNAL);
      for (;;)
        ::pause();
    case lane_fault::exit:
      std::_Exit(supervision::exit_words::io);
  }
}

lane_receipt work_on(const workbench& bench, const lane_task& order) {
  const auto& [id, numbers, by, device] = order.task;
  lane_receipt done{{id, 0, {}, {}}, {}};
  const auto began = std::chrono::steady_clock::now();
  end_by(order.fault);
  if (id.shard >= bench.job->work.shards.size()) {
    done.receipt.problem = {errc::fault, "a lane was given a shard that its plan has not"};
    return done;
  }
  auto result = run_shard(bench.job->work, bench.job->place, bench.job->work.shards[id.shard],
                          numbers, by, bench.on(order));
  done.took = std::chrono::steady_clock::now() - began;
  if (result) {
    done.receipt.checksum = result->checksum;
    done.receipt.findings = std::move(result->findings);
  } else {
    done.receipt.problem = std::move(result.error());
  }
  return done;
}

work_receipts work_off(const workbench& bench, const work_order& order) {
  work_receipts all{order.number, 0, {}};
  for (const auto& each : order.tasks) {
    if (!bench.job) {
      all.shards.push_back({{each.task.id, 0, {}, bench.job.error()}, {}});
      return all;
    }
    bench.me.mark(std::uint64_t{each.task.id.shard} + 1);
    all.shards.push_back(work_on(bench, each));
    bench.me.mark(0);
    if (all.shards.back().receipt.problem.code != errc::ok)
      break;
  }
  if (bench.device != nullptr)
    bench.device->prove(); // before anybody believes what it made
  return all;
}

/// False: the guardian speaks another language, which only a defect explains.
bool answer(const supervision::frame& order, const workbench& bench) {
  const auto bytes = unpack(order);
  const auto work = bytes ? decode_order(*bytes) : std::nullopt;
  if (!work)
    return false;
  auto done = work_off(bench, *work);
  done.peak_rss = peak_rss_bytes();
  auto receipts = pack(lane_kind::receipts, encode(done));
  if (!receipts)
    throw std::runtime_error(receipts.error().text);
  if (!bench.me.send(std::move(*receipts))) // nobody would ever ask again: the batch runs elsewhere
    throw std::runtime_error("the receipts of a batch could not be sent");
  return true;
}

/// False: the guardian speaks another language.
bool take_lease(const supervision::frame& order, workbench& bench) {
  auto right = order.attached ? lease::join(*order.attached) : fail(errc::fault, "no page");
  if (right)
    bench.right = std::move(*right);
  return right.has_value();
}

/// Works until it is told to leave; the exit code.
int serve(ward& me, device_engine* device) {
  tensor_ward tensors({[&](supervision::frame what) { return me.send(std::move(what)); },
                       [&](std::uint64_t order) { me.mark(order); },
                       [&] { me.step(); }}); // for pipelines
  workbench bench{me, device};
  while (const auto order = me.next()) {
    const bool of_tensors = order->kind >= lane_kind::share && order->kind <= lane_kind::tensors;
    bool understood = true;
    if (order->kind == lane_kind::assign)
      bench.job = set_up(*order, me, std::exchange(bench.right, nullptr));
    else if (order->kind == lane_kind::lease)
      understood = take_lease(*order, bench);
    else if (of_tensors)
      understood = tensors.take(*order);
    else
      understood = order->kind == lane_kind::work && answer(*order, bench);
    if (!understood)
      return supervision::exit_words::misconfigured;
  }
  return 0;
}

template <class Life>
int guarded(const Life& life) {
  auto me = ward::enter();
  if (!me) {
    std::fputs(("viva lane: " + me.error() + "\n").c_str(), stderr);
    return 2;
  }
  try {
    return life(**me);
  } catch (const lease_over& why) {
    (*me)->die(supervision::exit_words::fenced, why.what());
  } catch (const device_ended& why) {
    (*me)->die(why.exit_code, why.what());
  } catch (...) {
    (*me)->die(std::current_exception());
  }
}

} // namespace

int run_lane_nursery() {
  // Once here, and each lane's own answer comes without loading a page or looking a symbol up.
  ready_words(kernels::path::simd);
  ward::nurse(); // where nobody guards us, `enter` says so
  return run_lane_process();
}

int run_lane_process() {
  return guarded([](ward& me) {
    me.ready(ready_words(kernels::path::simd));
    return serve(me, nullptr);
  });
}

int run_device_lane(int number, const device_opener& open) {
  return guarded([&](ward& me) {
    device_engine device(open(number));
    me.ready(ready_words([&](const auto& recipe, const auto& in, const auto& numbers, auto out) {
      return device.prove_by(recipe, in, numbers, out);
    }));
    return serve(me, &device);
  });
}

} // namespace viva::actors
