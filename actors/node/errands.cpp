#include "actors/node/errands.hpp"

#include "actors/shard_ranges.hpp"
#include "actors/shard_work.hpp"

#include <utility>

namespace viva::actors::node {
namespace {

error nonsense(const std::string& what) {
  return {errc::fault, "it spoke nonsense: " + what};
}

/// Problems of copies are their node's, not the job's.
bool is_of_node(errc code) {
  return code == errc::disk_full || code == errc::cannot_write || code == errc::unreadable;
}

/// All tasks of the order, in its order, or up to one that has a problem.
bool answers(const work_receipts& done, const work_order& order) {
  if (done.shards.empty() || done.shards.size() > order.tasks.size())
    return false;
  for (std::size_t i = 0; i < done.shards.size(); ++i)
    if (done.shards[i].receipt.id != order.tasks[i].task.id)
      return false;
  return true;
}

/// The order could not be carried out for a reason of ours.
work_receipts failed(const work_order& order, const error& why) {
  work_receipts all{order.number, 0, {}};
  all.shards.push_back({{order.tasks.front().task.id, 0, {}, why, {}}, {}});
  return all;
}

} // namespace

errands::errands(site_ptr site, std::shared_ptr<const freight> goods, std::unique_ptr<courier> by,
                 hooks say)
  : x_site(std::move(site)), x_goods(std::move(goods)), x_say(std::move(say)),
    x_by(std::move(by)) {
}

error errands::take(const parcel& what) {
  auto order = decode_order(what.bytes);
  if (!order) // our own
    return nonsense("an order that is none");
  const auto number = order->number;
  x_all[number] = {what.lane, what.life, std::move(*order), stage::asked, false, {}};
  x_say.tell(word::work, encode(what));
  return {};
}

error errands::ready(const turn& what) {
  if (what.number == turn::of_job) {
    x_by->bring(turn::of_job, x_goods->list.seeds);
    return {};
  }
  const auto at = x_all.find(what.number);
  if (at == x_all.end()) // dropped meanwhile
    return {};
  if (at->second.is != stage::asked)
    return nonsense("ready for a batch that it has");
  std::vector<byte_range> ranges;
  for (const auto& each : at->second.order.tasks) {
    const auto more = x_goods->numbers.of_sources(
      source_ranges(x_site->work, x_site->work.shards[each.task.id.shard]));
    ranges.insert(ranges.end(), more.begin(), more.end());
  }
  at->second.is = stage::bringing;
  x_by->bring(what.number, merged(std::move(ranges)));
  return {};
}

error errands::receipts(const parcel& what) {
  auto done = decode_receipts(what.bytes);
  const auto at = done ? x_all.find(done->number) : x_all.end();
  if (at == x_all.end() || at->second.is != stage::there || at->second.lane != what.lane
      || at->second.life != what.life || !answers(*done, at->second.order))
    return nonsense("receipts of what it was not given");
  std::vector<byte_range> ranges;
  for (const auto& [receipt, took] : done->shards) {
    if (is_of_node(receipt.problem.code))
      return receipt.problem;
    if (receipt.problem.code != errc::ok)
      continue;
    const auto more = x_goods->numbers.of_outputs(
      output_ranges(x_site->work, x_site->work.shards[receipt.id.shard]));
    ranges.insert(ranges.end(), more.begin(), more.end());
  }
  at->second.done = std::move(*done);
  at->second.is = stage::fetching;
  x_by->fetch(at->first, merged(std::move(ranges)));
  return {};
}

error errands::arrived(const arrival& what) {
  if (what.number == turn::of_job) {
    if (what.problem.code == errc::ok)
      x_say.tell(word::brought, encode(turn{}));
    return what.problem;
  }
  const auto at = x_all.find(what.number);
  if (at == x_all.end())
    return {};
  return what.was == arrival::what::brought ? end_bringing(at, what) : end_fetching(at, what);
}

error errands::end_bringing(all::iterator at, const arrival& what) {
  if (what.problem.code != errc::ok && !what.ours)
    return what.problem;
  at->second.is = stage::there;
  if (at->second.dropped) {
    let_go(at); // its lane is gone, so nobody waits behind it
  } else if (what.problem.code != errc::ok) {
    at->second.done = failed(at->second.order, what.problem);
    hand_in(at);
  } else {
    x_say.tell(word::brought, encode(turn{at->first}));
  }
  return {};
}

error errands::end_fetching(all::iterator at, const arrival& what) {
  if (what.problem.code != errc::ok && !what.ours)
    return what.problem;
  if (what.problem.code != errc::ok) {
    at->second.done = failed(at->second.order, what.problem);
  } else if (const auto same = check(at->second.done); !same) {
    at->second.done = failed(at->second.order, same.error()); // not read back: our disk, not theirs
  } else if (same->code != errc::ok) {
    return *same;
  }
  hand_in(at);
  return {};
}

/// What was fetched must be what the lane wrote, read back from where it lies now.
expected<error> errands::check(const work_receipts& done) const {
  for (const auto& [receipt, took] : done.shards) {
    if (receipt.problem.code != errc::ok)
      continue;
    const auto is = output_checksum(x_site->work, x_site->place,
                                    x_site->work.shards[receipt.id.shard]);
    if (!is)
      return tl::unexpected(is.error());
    if (*is != receipt.checksum)
      return error{errc::fault, "the bytes of shard " + std::to_string(receipt.id.shard)
                             + " came other than its lane wrote them; check that machine's disk "
                               "and memory"};
  }
  return {};
}

void errands::hand_in(all::iterator at) {
  at->second.is = stage::home;
  const auto lane = at->second.lane, life = at->second.life;
  for (auto next = x_all.begin(); next != x_all.end();) {
    const auto each = next++;
    if (each->second.lane != lane || each->second.life != life)
      continue;
    if (each->second.is != stage::home)
      return;
    x_say.deliver(lane, life, encode(each->second.done));
    let_go(each);
  }
}

void errands::let_go(all::iterator at) {
  x_say.tell(word::let_go, encode(turn{at->first}));
  x_all.erase(at);
}

bool errands::fetches(std::uint32_t lane, std::uint32_t life) const {
  for (const auto& [number, each] : x_all)
    if (each.lane == lane && each.life == life && each.is == stage::fetching)
      return true;
  return false;
}

void errands::drop(std::uint32_t lane, std::uint32_t life) {
  for (auto at = x_all.begin(); at != x_all.end();) {
    const auto each = at++;
    if (each->second.lane != lane || each->second.life != life)
      continue;
    if (each->second.is == stage::bringing) // the client cannot take it back
      each->second.dropped = true;
    else
      let_go(each);
  }
}

} // namespace viva::actors::node
