#include "actors/pipeline.hpp"

#include "actors/pipeline/answering.hpp"
#include "actors/pipeline/attention_job.hpp"
#include "actors/pipeline/resident_attention.hpp"
#include "actors/pipeline/stream_core.hpp"
#include "actors/pipeline/tensor_job.hpp"

#include <algorithm>
#include <utility>

namespace viva {
namespace {

using actors::answered;
using actors::refused;

actors::shard_rounds::order order_of(const submit_options& options) {
  return {options.name, options.how_urgent, options.until};
}

/// A job through the gate: when there is room, as `options` says.
template <class T, class Job>
future<expected<T>> enter(actors::pipeline_floor& floor, const submit_options& options,
                          const std::shared_ptr<outcome<expected<T>>>& answer,
                          std::shared_ptr<Job> job) {
  const actors::budget::amount need{job->bytes(), 1};
  auto& room = *floor.room;
  auto begin = actors::beginning<T>(options.name, answer, [job](actors::budget::lease lease) {
    job->begin(std::move(lease));
  });
  // All that may throw comes before the work begins: it reads what is the caller's.
  if (options.when_full != on_full::suspend) {
    answer->on_withdraw(actors::withdraws(job), options.until, floor.arm());
    begin(room.admit(need, options.when_full, options.until));
    return future<expected<T>>{answer};
  }
  const auto number = std::make_shared<std::uint64_t>(0); // of who waits outside
  const auto leave = [work = std::weak_ptr{job}, from = std::weak_ptr{floor.room},
                      number](errc why) {
    const auto mine = work.lock(); // it may be the line's alone
    if (const auto still = from.lock(); still && *number != 0)
      still->leave(*number); // first: who is told counts on it
    if (mine)
      mine->withdraw(why);
  };
  answer->on_withdraw(leave, options.until, floor.arm());
  const auto parked = room.park(need, std::move(begin));
  if (!parked)
    return refused<T>({parked.error().code, options.name + ": " + parked.error().text});
  *number = *parked;
  return future<expected<T>>{answer};
}

/// More are refused, so that a wrong number costs an error and not all memory.
constexpr std::uint32_t lanes_max = 1024;

bool too_many(const pipeline_options& options) {
  return options.lanes > lanes_max
         || options.nodes.size() > lanes_max / std::max(1u, options.lanes);
}

std::shared_ptr<actors::pipeline_floor> floor_of(pipeline_options options) {
  if (too_many(options)) { // for an error alone
    options.lanes = 1;
    options.nodes.clear();
  }
  return std::make_shared<actors::pipeline_floor>(options);
}

expected<std::unique_ptr<actors::pipeline_house>>
house_of(const std::shared_ptr<actors::pipeline_floor>& floor, const pipeline_options& options) {
  if (too_many(options))
    return fail(errc::bad_option, "pipeline_options: " + std::to_string(lanes_max)
                                    + " lanes at most, those of all nodes together");
  try {
    return actors::pipeline_house::build(floor, options);
  } catch (...) {
    return tl::unexpected(actors::caught("pipeline"));
  }
}

} // namespace

pipeline::pipeline(pipeline_options options) {
  expected<std::unique_ptr<actors::pipeline_house>> house;
  try {
    x_floor = floor_of(options);
    house = house_of(x_floor, options);
  } catch (...) {
    house = tl::unexpected(actors::caught("pipeline"));
    x_floor = floor_of({.lanes = 1}); // some KiB, for the error alone
  }
  if (house) {
    x_house = std::move(*house);
  } else {
    x_floor->room->close(house.error());
    x_floor->work->close(house.error());
  }
}

pipeline::~pipeline() = default;

future<expected<encoded>> pipeline::quantize(const tensor_view& view, const method_words& words,
                                             submit_options options) {
  return answered<encoded>(options.name, [&]() -> future<expected<encoded>> {
    const auto how = kernels::parse_recipe(words.text, view.type);
    if (!how)
      return refused<encoded>(how.error());
    if (auto fine = actors::check_view(*how, view, options.name); !fine)
      return refused<encoded>(fine.error());
    const auto answer = std::make_shared<outcome<expected<encoded>>>();
    return enter(*x_floor, options, answer,
                 std::make_shared<actors::tensor_job>(order_of(options), *how, view, x_floor->work,
                                                      x_floor->lanes, x_floor->shares, answer));
  });
}

future<expected<attended>> pipeline::attention(const attention_view& view,
                                               submit_options options) {
  return answered<attended>(options.name, [&]() -> future<expected<attended>> {
    if (auto fine = actors::check_attention(view, options.name); !fine)
      return refused<attended>(fine.error());
    const auto answer = std::make_shared<outcome<expected<attended>>>();
    return enter(*x_floor, options, answer,
                 std::make_shared<actors::attention_job>(order_of(options), view, x_floor->work,
                                                         x_floor->shares, x_floor->homes(),
                                                         answer));
  });
}

future<expected<attended>> pipeline::attention(const tensor_view& q, const tensor_view& k,
                                               const tensor_view& v,
                                               const attention_options& what,
                                               submit_options options) {
  return answered<attended>(options.name, [&]() -> future<expected<attended>> {
    const auto view = view_of(q, k, v, what);
    if (!view)
      return refused<attended>({view.error().code, options.name + ": " + view.error().text});
    return attention(*view, options);
  });
}

future<expected<attended>> pipeline::attention(const resident_attention& view,
                                               submit_options options) {
  return answered<attended>(options.name, [&]() -> future<expected<attended>> {
    const auto k = x_floor->store->find(view.k.number), v = x_floor->store->find(view.v.number);
    if (!k || !v)
      return refused<attended>({errc::bad_option, options.name + ": " + (k ? "v" : "k")
                                                    + " is no tensor of this pipeline, or "
                                                      "dropped"});
    if (auto fine = actors::check_resident_attention(view, *k, *v, options.name); !fine)
      return refused<attended>(fine.error());
    const auto answer = std::make_shared<outcome<expected<attended>>>();
    return enter(*x_floor, options, answer,
                 std::make_shared<actors::resident_attention_job>(
                   order_of(options), view, x_floor->residents(), k, v, answer));
  });
}

future<expected<encoded>> pipeline::prune(const tensor_view& view, const method_words& how,
                                          submit_options options) {
  if (how.text.starts_with("sparse24"))
    return quantize(view, how, std::move(options));
  return refused<encoded>(
    {errc::unsupported, "prune: " + how.text + " prunes nothing; take sparse24 or a relative"});
}

tensor_stream pipeline::stream_from(tensor_source source, const method_words& how,
                                    stream_options options) {
  try {
    return tensor_stream{std::make_unique<actors::stream_core>(
      x_floor, kernels::parse_recipe(how.text, options.type), std::move(source), options)};
  } catch (...) {
    return tensor_stream{actors::caught("stream")};
  }
}

snapshot pipeline::metrics() const {
  if (x_house)
    return x_house->meters();
  snapshot none;
  none.queue = actors::read_queue(*x_floor);
  return none;
}

void pipeline::kill_collector() {
  if (x_house)
    x_house->kill_collector();
}

expected<shared_bytes> pipeline::share(std::uint64_t bytes) {
  try {
    auto made = x_floor->shares != nullptr ? x_floor->shares->make(bytes)
                                           : actors::shared_region::make(bytes);
    if (!made)
      return tl::unexpected(made.error());
    return shared_bytes{std::move(*made)};
  } catch (...) {
    return tl::unexpected(actors::caught("memory to share"));
  }
}

// To nodes bytes go through memory: a file that is cut short meanwhile is no fault of theirs.
expected<lent_file> pipeline::lend(const std::filesystem::path& file,
                                   std::span<const std::byte> mapped) {
  if (x_floor->shares == nullptr || !x_floor->nodes.empty())
    return lent_file{};
  try {
    auto made = actors::shared_region::of_file(file, mapped);
    if (!made)
      return tl::unexpected(made.error());
    (*made)->stays = true;
    x_floor->shares->enter(*made);
    return lent_file{std::move(*made)};
  } catch (...) {
    return tl::unexpected(actors::caught(file.string()));
  }
}

std::uint32_t pipeline::lanes() const noexcept {
  return x_floor->lanes;
}

void pipeline::kill_lane(std::uint32_t lane) {
  x_floor->condemned[lane % x_floor->lanes]->store(true);
}

} // namespace viva
