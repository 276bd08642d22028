#include "actors/node/dock.hpp"

#include "actors/shard_ranges.hpp"
#include "actors/workplace.hpp"

namespace viva::actors::node {
namespace {

namespace fs = std::filesystem;

template <class Ranges>
void append(std::vector<byte_range>& to, const Ranges& more) {
  to.insert(to.end(), more.begin(), more.end());
}

} // namespace

expected<std::unique_ptr<dock>> dock::open(std::shared_ptr<const depot> at, const job_key& key,
                                           const manifest& list) {
  auto room = at->root->make(list);
  if (!room)
    return tl::unexpected(room.error());
  return std::unique_ptr<dock>(new dock(std::move(at), key, list, std::move(*room)));
}

dock::dock(std::shared_ptr<const depot> at, const job_key& key, const manifest& list,
           std::unique_ptr<scratch> room)
  : x_at(std::move(at)), x_key(key), x_list(list), x_scratch(std::move(room)) {
  x_at->server->open_job(x_key, x_scratch->files());
  x_scratch->hold(x_list.seeds);
  allow(access::write, x_list.seeds);
}

dock::~dock() {
  x_at->server->close_job(x_key);
}

void dock::keep_seeds() {
  withdraw(access::write, x_list.seeds);
}

expected<void> dock::take_plan(const plan& work, const fs::path& output) {
  const auto inside = [&](std::vector<fs::path> all) {
    for (auto& each : all)
      each = each.lexically_relative(folder());
    return all;
  };
  auto numbers = number_files(work, x_list, inside(work.sources),
                              inside(partial_files(work, output)));
  if (!numbers)
    return tl::unexpected(numbers.error());
  x_numbers = std::move(*numbers);
  return {};
}

bool dock::begin(std::uint64_t batch, const plan& work, const std::vector<std::uint32_t>& shards) {
  const auto [at, fresh] = x_berths.try_emplace(batch);
  if (!fresh)
    return false;
  berth made;
  for (const auto each : shards) {
    append(made.sources, x_numbers.of_sources(source_ranges(work, work.shards[each])));
    append(made.outputs, x_numbers.of_outputs(output_ranges(work, work.shards[each])));
  }
  made.sources = merged(std::move(made.sources));
  made.outputs = merged(std::move(made.outputs));
  x_scratch->hold(made.sources);
  x_scratch->hold(made.outputs);
  allow(access::write, made.sources);
  at->second = std::move(made);
  return true;
}

bool dock::arrived(std::uint64_t batch) {
  const auto at = x_berths.find(batch);
  if (at == x_berths.end() || at->second.is != stage::coming)
    return false;
  withdraw(access::write, at->second.sources);
  at->second.is = stage::here;
  return true;
}

void dock::offer(std::uint64_t batch) {
  const auto at = x_berths.find(batch);
  if (at == x_berths.end() || at->second.is != stage::here)
    return;
  allow(access::read, at->second.outputs);
  at->second.is = stage::offered;
}

void dock::end(std::uint64_t batch) {
  const auto at = x_berths.find(batch);
  if (at == x_berths.end())
    return;
  if (at->second.is == stage::coming)
    withdraw(access::write, at->second.sources);
  if (at->second.is == stage::offered)
    withdraw(access::read, at->second.outputs);
  x_scratch->let_go(at->second.sources);
  x_scratch->let_go(at->second.outputs);
  x_berths.erase(at);
}

void dock::allow(access how, const std::vector<byte_range>& ranges) {
  for (const auto& each : ranges)
    x_at->server->allow(x_key, how, each);
}

void dock::withdraw(access how, const std::vector<byte_range>& ranges) {
  for (const auto& each : ranges)
    x_at->server->withdraw(x_key, how, each);
}

} // namespace viva::actors::node
