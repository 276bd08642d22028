#include "actors/node/errands.hpp"

#include "actors/shard_ranges.hpp"
#include "actors/shard_work.hpp"

#include <algorithm>
#include <utility>

namespace viva::actors::node {
namespace {

error nonsense(const std::string& what) {
  return {errc::fault, "it spoke nonsense: " + what};
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

/// A run that was given out because the one before it is late (job_policy.hpp). Where the one
/// before was lost, nobody fetches what it wants.
bool overtakes(const work_order& order) {
  return std::ranges::any_of(order.tasks,
                             [](const lane_task& each) { return each.task.id.run > 1; });
}

/// Those of them that were written.
std::vector<std::uint32_t> shards_of(const work_receipts& done) {
  std::vector<std::uint32_t> shards;
  for (const auto& [receipt, took] : done.shards)
    if (receipt.problem.code == errc::ok)
      shards.push_back(receipt.id.shard);
  return shards;
}

/// The order could not be carried out for a reason of ours.
work_receipts failed(const work_order& order, const error& why) {
  work_receipts all{order.number, 0, {}};
  all.shards.push_back({{order.tasks.front().task.id, 0, {}, why, {}}, {}});
  return all;
}

} // namespace

errands::errands(site_ptr site, std::shared_ptr<const freight> goods,
                 std::shared_ptr<claims> of_job, std::unique_ptr<courier> by, hooks say)
  : x_site(std::move(site)), x_goods(std::move(goods)), x_claims(std::move(of_job)),
    x_say(std::move(say)), x_by(std::move(by)) {
}

errands::~errands() {
  x_by = nullptr; // first: whoever fetches next must be the only one that writes
  for (const auto& [number, each] : x_all)
    if (!each.claimed.empty())
      x_claims->let_go(each.claimed);
    else if (each.is == stage::waiting && overtakes(each.order))
      x_claims->want_no_more(shards_of(each.done));
}

error errands::take(const parcel& what) {
  auto order = decode_order(what.bytes);
  if (!order) // our own
    return nonsense("an order that is none");
  const auto number = order->number;
  x_all[number] = {what.lane, what.life, std::move(*order), stage::asked, false, false, {}, {}};
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
  at->second.done = std::move(*done);
  begin_fetching(at);
  return {};
}

/// Or to wait for others who fetch the same.
void errands::begin_fetching(all::iterator at) {
  auto& each = at->second;
  const auto shards = shards_of(each.done);
  const bool comes_already = std::ranges::any_of(x_all, [&](const auto& other) { // this way
    return std::ranges::find_first_of(other.second.claimed, shards) != other.second.claimed.end();
  });
  each.is = stage::waiting;
  auto mine = x_claims->take(shards, x_say.again, overtakes(each.order) && !comes_already);
  if (!mine)
    return;
  each.is = stage::fetching;
  each.claimed = std::move(*mine);
  std::vector<byte_range> ranges;
  for (const auto shard : each.claimed) {
    const auto more
      = x_goods->numbers.of_outputs(output_ranges(x_site->work, x_site->work.shards[shard]));
    ranges.insert(ranges.end(), more.begin(), more.end());
  }
  x_by->fetch(at->first, merged(std::move(ranges)));
}

void errands::look_again() {
  for (auto at = x_all.begin(); at != x_all.end(); ++at) {
    auto& each = at->second;
    if (each.is == stage::waiting) {
      begin_fetching(at);
    } else if (each.is == stage::fetching && !each.gives_up && x_claims->wanted(each.claimed)) {
      each.gives_up = true;
      x_by->give_up(at->first);
    }
  }
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
  auto& each = at->second;
  if (std::exchange(each.gives_up, false) && what.problem.code == errc::interrupted) {
    x_claims->let_go(std::exchange(each.claimed, {}));
    begin_fetching(at); // behind the one that overtakes it, or again where that is gone
    return {};
  }
  if (what.problem.code != errc::ok && !what.ours)
    return what.problem;
  const expected<error> same = what.problem.code != errc::ok
                                 ? expected<error>(tl::unexpected(what.problem))
                                 : check(each);
  if (same && same->code != errc::ok)
    return *same;
  if (same) {
    compare(each.done);
    std::vector<std::pair<std::uint32_t, std::uint64_t>> kept;
    for (const auto& [receipt, took] : each.done.shards)
      if (std::ranges::count(each.claimed, receipt.id.shard) != 0)
        kept.emplace_back(receipt.id.shard, receipt.checksum);
    x_claims->keep(kept);
  } else { // not written or not read back: our disk, not theirs
    each.done = failed(each.order, same.error());
    x_claims->let_go(each.claimed);
  }
  each.claimed.clear();
  hand_in(at);
  return {};
}

/// Of a shard that another node brought: this run must have come to the same bytes.
void errands::compare(work_receipts& done) const {
  for (auto& [receipt, took] : done.shards)
    if (const auto here = x_claims->checksum(receipt.id.shard);
        receipt.problem.code == errc::ok && here && *here != receipt.checksum)
      receipt.problem = {errc::job_failed,
                         "two nodes gave different bytes of shard "
                           + std::to_string(receipt.id.shard)
                           + ", which neither the same program nor sound hardware does; check "
                             "their memory and disks before you say --overwrite to start anew"};
}

/// What was fetched must be what the lane wrote, read back from where it lies now.
expected<error> errands::check(const errand& of) const {
  for (const auto& [receipt, took] : of.done.shards) {
    if (std::ranges::count(of.claimed, receipt.id.shard) == 0)
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
    x_say.deliver(lane, life, each->first, encode(each->second.done));
    let_go(each);
  }
}

void errands::let_go(all::iterator at) {
  x_say.tell(word::let_go, encode(turn{at->first}));
  x_all.erase(at);
}

bool errands::fetches(std::uint32_t lane, std::uint32_t life) const {
  for (const auto& [number, each] : x_all)
    if (each.lane == lane && each.life == life
        && (each.is == stage::waiting || each.is == stage::fetching))
      return true;
  return false;
}

bool errands::moves(std::uint32_t lane, std::uint32_t life) const {
  return std::ranges::any_of(x_all, [&](const auto& each) {
    const auto& [number, what] = each;
    return what.lane == lane && what.life == life
           && (what.is == stage::bringing || what.is == stage::fetching);
  });
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
