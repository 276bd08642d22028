#include "actors/pipeline.hpp"

#include "actors/collector.hpp"
#include "actors/pipeline/house.hpp"
#include "actors/pipeline/stream_core.hpp"
#include "actors/pipeline/tensor_job.hpp"

#include <numeric>
#include <utility>

namespace viva {

pipeline::pipeline(pipeline_options options)
    : x_floor(std::make_shared<actors::pipeline_floor>(options)) {
  auto house = actors::pipeline_house::build(x_floor);
  if (house)
    x_house = std::move(*house);
  else
    x_floor->work->close(house.error());
}

pipeline::~pipeline() = default;

future<expected<encoded>> pipeline::quantize(const tensor_view& view, const method_words& words,
                                             submit_options options) {
  auto answer = std::make_shared<outcome<expected<encoded>>>();
  future<expected<encoded>> result{answer};
  const auto refuse = [&](const error& why) {
    answer->set(tl::unexpected(why));
    return std::move(result);
  };
  const auto how = kernels::parse_recipe(words.text, view.type);
  if (!how)
    return refuse(how.error());
  if (auto fine = actors::check_view(*how, view, options.name); !fine)
    return refuse(fine.error());
  const auto job = std::make_shared<actors::tensor_job>(
    actors::shard_rounds::order{options.name, options.how_urgent, options.until}, *how, view,
    x_floor->work, answer);
  answer->on_withdraw(actors::withdraws(job), options.until);
  const actors::budget::amount need{job->bytes(), 1};
  auto begin = [job](actors::budget::lease lease) { job->begin(std::move(lease)); };
  auto& room = *x_floor->room;
  if (options.when_full == on_full::suspend) {
    if (auto parked = room.park(need, begin); !parked)
      return refuse({parked.error().code, options.name + ": " + parked.error().text});
    return result;
  }
  auto lease = room.admit(need, options.when_full, options.until);
  if (!lease)
    return refuse({lease.error().code, options.name + ": " + lease.error().text});
  begin(std::move(*lease));
  return result;
}

future<expected<encoded>> pipeline::prune(const tensor_view& view, const method_words& how,
                                          submit_options options) {
  if (how.text.starts_with("sparse24"))
    return quantize(view, how, std::move(options));
  auto answer = std::make_shared<outcome<expected<encoded>>>();
  answer->set(fail(errc::unsupported, "prune: " + how.text
                                        + " prunes nothing; take sparse24 or a relative"));
  return future<expected<encoded>>{answer};
}

tensor_stream pipeline::stream_from(tensor_source source, const method_words& how,
                                    stream_options options) {
  return tensor_stream{std::make_unique<actors::stream_core>(
    x_floor, kernels::parse_recipe(how.text, options.type), std::move(source), options)};
}

pipeline_metrics pipeline::metrics() const {
  pipeline_metrics result;
  for (auto& lane : actors::read_meters(x_floor->board).lanes) {
    result.tensors += lane.shards;
    result.bytes += lane.bytes;
    result.lanes.push_back(
      {lane.id, lane.shards, lane.bytes, lane.busy_seconds, lane.p50_ms, lane.p99_ms});
  }
  const auto work = x_floor->work->count();
  result.tickets = work.units;
  result.messages = work.units + work.in_vain;
  result.tickets_lost = work.lost;
  result.restarts = work.lives < x_floor->lanes ? 0 : work.lives - x_floor->lanes;
  result.waiting = work.waiting;
  result.running = work.running;
  result.lanes_up = work.lanes_up;
  actors::latency_histogram::counts all{};
  x_floor->latency.merge_into(all);
  result.latency_p50_ms = actors::latency_histogram::quantile_ms(all, 0.50);
  result.latency_p99_ms = actors::latency_histogram::quantile_ms(all, 0.99);
  result.latency_p999_ms = actors::latency_histogram::quantile_ms(all, 0.999);
  result.latency_count = std::accumulate(all.begin(), all.end(), std::uint64_t{0});
  result.deaths = x_floor->deaths.read();
  const auto used = x_floor->room->used();
  result.budget_bytes_used = used.bytes;
  result.budget_tickets_used = used.tickets;
  result.submits_waiting = x_floor->room->waiting();
  return result;
}

std::uint32_t pipeline::lanes() const noexcept {
  return x_floor->lanes;
}

void pipeline::kill_lane(std::uint32_t lane) {
  x_floor->condemned[lane % x_floor->lanes]->store(true);
}

} // namespace viva
