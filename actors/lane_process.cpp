#include "actors/lane_process.hpp"

#include "actors/assignment.hpp"
#include "actors/known_answer.hpp"
#include "actors/lane.hpp"
#include "actors/lane_frames.hpp"
#include "actors/pipeline/tensor_ward.hpp"
#include "actors/resident_memory.hpp"
#include "actors/shard_work.hpp"
#include "supervision/death.hpp"
#include "supervision/ward.hpp"

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace viva::actors {
namespace {

using supervision::ward;

/// The job in hand; an error is told in answer to every batch.
struct workbench {
  plan work;
  workplace place;
};

expected<workbench> set_up(const supervision::frame& order, ward& me) {
  const auto bytes = unpack(order);
  if (!bytes)
    return tl::unexpected(bytes.error());
  const auto given = decode_assignment(*bytes);
  if (!given)
    return tl::unexpected(given.error());
  auto work = plan_again(*given);
  if (!work)
    return tl::unexpected(work.error());
  auto place = workplace::join(*work, output_of(*given), given->partial, me.steps());
  if (!place)
    return tl::unexpected(place.error());
  return workbench{std::move(*work), std::move(*place)};
}

[[noreturn]] void run_out_of_memory() {
  const rlimit little{64u << 20, 64u << 20};
  ::setrlimit(RLIMIT_AS, &little);
  for (std::vector<std::unique_ptr<char[]>> hoard;;)
    hoard.push_back(std::make_unique<char[]>(1u << 20));
}

/// Faults put in on purpose; the guardian sends none unless it was allowed to.
void end_by(lane_fault how) {
  if (how != lane_fault::none && how != lane_fault::raise)
    std::fputs((fault_put_in() + "\n").c_str(), stderr);
  switch (how) {
    case lane_fault::none:
      return;
    case lane_fault::raise:
      throw std::runtime_error(fault_put_in());
    case lane_fault::crash:
      ::raise(SIGSEGV);
      break;
    case lane_fault::abort:
      std::abort();
    case lane_fault::hang:
      for (;;)
        ::pause();
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
  const auto& [id, numbers, by] = order.task;
  lane_receipt done{{id, 0, {}, {}}, {}};
  const auto began = std::chrono::steady_clock::now();
  end_by(order.fault);
  if (id.shard >= bench.work.shards.size()) {
    done.receipt.problem = {errc::fault, "a lane was given a shard that its plan has not"};
    return done;
  }
  auto result = run_shard(bench.work, bench.place, bench.work.shards[id.shard], numbers, by);
  done.took = std::chrono::steady_clock::now() - began;
  if (result) {
    done.receipt.checksum = result->checksum;
    done.receipt.findings = std::move(result->findings);
  } else {
    done.receipt.problem = std::move(result.error());
  }
  return done;
}

work_receipts work_off(const expected<workbench>& bench, const work_order& order, ward& me) {
  work_receipts all{order.number, 0, {}};
  for (const auto& each : order.tasks) {
    if (!bench) {
      all.shards.push_back({{each.task.id, 0, {}, bench.error()}, {}});
      return all;
    }
    me.mark(std::uint64_t{each.task.id.shard} + 1);
    all.shards.push_back(work_on(*bench, each));
    me.mark(0);
    if (all.shards.back().receipt.problem.code != errc::ok)
      break;
  }
  return all;
}

/// False: the guardian speaks another language, which only a defect explains.
bool answer(const supervision::frame& order, const expected<workbench>& bench, ward& me) {
  const auto bytes = unpack(order);
  const auto work = bytes ? decode_order(*bytes) : std::nullopt;
  if (!work)
    return false;
  auto done = work_off(bench, *work, me);
  done.peak_rss = peak_rss_bytes();
  auto receipts = pack(lane_kind::receipts, encode(done));
  if (!receipts)
    throw std::runtime_error(receipts.error().text);
  if (!me.send(std::move(*receipts))) // nobody would ever ask again: the batch runs elsewhere
    throw std::runtime_error("the receipts of a batch could not be sent");
  return true;
}

} // namespace

int run_lane_nursery() {
  // Once here, and each lane's own answer comes without loading a page or looking a symbol up.
  ready_words(kernels::path::simd);
  ward::nurse(); // where nobody guards us, `enter` says so
  return run_lane_process();
}

int run_lane_process() {
  auto me = ward::enter();
  if (!me) {
    std::fputs(("viva lane: " + me.error() + "\n").c_str(), stderr);
    return 2;
  }
  try {
    (*me)->ready(ready_words(kernels::path::simd));
    tensor_ward tensors(**me); // for pipelines
    expected<workbench> bench = fail(errc::fault, "a lane was given work before a job");
    while (const auto order = (*me)->next()) {
      const bool of_tensors
        = order->kind >= lane_kind::share && order->kind <= lane_kind::tensors;
      if (order->kind == lane_kind::assign)
        bench = set_up(*order, **me);
      else if (of_tensors ? !tensors.take(*order)
                          : order->kind != lane_kind::work || !answer(*order, bench, **me))
        return supervision::exit_words::misconfigured;
    }
  } catch (...) {
    (*me)->die(std::current_exception());
  }
  return 0;
}

} // namespace viva::actors
