// A lane process that lies: fourteen lives answer their first batch with receipts that are wrong,
// each in another way; the lives after them are honest. VIVA_TEST_LIES is a folder to count in: N
// is there once life N began, said-N once it lied.
// Or, with one of these set, it
//   VIVA_TEST_REFUSES   says that it will not do what it was given, and goes
//   VIVA_TEST_ENDS=N    gives no answer, but goes with exit code N, at work on nothing
//   VIVA_TEST_BLIND     says that it cannot read the source

#include "actors/known_answer.hpp"
#include "actors/lane_frames.hpp"
#include "actors/lane_process.hpp"
#include "supervision/death.hpp"
#include "supervision/ward.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

using namespace viva;
using namespace viva::actors;

namespace {

/// Receipts of this order, and what is wrong with them.
supervision::frame lie(int which, const work_order& order) {
  work_receipts all{order.number, 0, {}};
  for (const auto& each : order.tasks)
    all.shards.push_back({{each.task.id, 1, {}, {}}, {}});
  auto kind = lane_kind::receipts;
  switch (which % 7) {
    case 0: ++all.number; break;
    case 1: all.shards.push_back(all.shards.back()); break;
    case 2: all.shards.clear(); break;
    case 3: all.shards.front().receipt.id.shard += 1; break;
    case 4: kind = lane_kind::work; break;
    case 5:
      for (auto& each : all.shards) // a position beyond every number, no sums
        each.receipt.findings = "99999999999999999999";
      break;
    default: return {kind, "these are no receipts", {}};
  }
  return *pack(kind, encode(all));
}

void mark(const std::string& name) {
  if (const int fd = ::open(name.c_str(), O_CREAT | O_WRONLY, 0600); fd >= 0)
    ::close(fd);
}

void tell(int which, const std::string& folder) {
  auto me = supervision::ward::enter();
  if (!me)
    std::exit(2);
  (*me)->ready(ready_words(kernels::path::simd));
  while (const auto order = (*me)->next())
    if (const auto work = order->kind == lane_kind::work ? decode_order(*unpack(*order))
                                                         : std::nullopt) {
      mark(folder + "/said-" + std::to_string(which)); // first: a lie may be its last act
      (*me)->send(lie(which, *work));
    }
  std::exit(0);
}

/// Ready, and `body(itself, batch)` for each batch it is given.
template <class Body>
[[noreturn]] void at_each_batch(const Body& body) {
  auto me = supervision::ward::enter();
  if (!me)
    std::exit(2);
  (*me)->ready(ready_words(kernels::path::simd));
  while (const auto order = (*me)->next())
    if (order->kind == lane_kind::work)
      body(**me, *decode_order(*unpack(*order)));
  std::exit(0);
}

[[noreturn]] void refuse() {
  at_each_batch([](supervision::ward& me, const work_order& work) {
    me.mark(std::uint64_t{work.tasks.front().task.id.shard} + 1);
    me.die(supervision::exit_words::bad_input, "a tensor of no dimension");
  });
}

/// Goes at each batch, as one that dies while it plans.
[[noreturn]] void end_with(int code) {
  at_each_batch(
    [code](supervision::ward& me, const work_order&) { me.die(code, "gone on purpose"); });
}

[[noreturn]] void be_blind() {
  at_each_batch([](supervision::ward& me, const work_order& work) {
    const error why{errc::unreadable, "source: cannot open: Too many open files in system"};
    me.send(*pack(lane_kind::receipts,
                  encode({work.number, 0, {{{work.tasks[0].task.id, 0, {}, why}, {}}}})));
  });
}

bool is_new(const std::string& name) {
  const int fd = ::open(name.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600);
  if (fd >= 0)
    ::close(fd);
  return fd >= 0;
}

} // namespace

int main(int words, char**) {
  if (words > 2)
    return supervision::exit_words::misconfigured; // no nursery: each liar lies once
  if (std::getenv("VIVA_TEST_REFUSES") != nullptr)
    refuse();
  if (const char* code = std::getenv("VIVA_TEST_ENDS"))
    end_with(std::atoi(code));
  if (std::getenv("VIVA_TEST_BLIND") != nullptr)
    be_blind();
  const std::string folder = std::getenv("VIVA_TEST_LIES");
  for (int i = 0; i < 14; ++i) {
    if (is_new(folder + "/" + std::to_string(i)))
      tell(i, folder);
  }
  return run_lane_process();
}
