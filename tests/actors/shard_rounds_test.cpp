// Work in rounds: what becomes of it where there is no memory for its units, where a shard waits
// for a disk, and where nobody wants it any more.

#include "actors/pipeline/answering.hpp"
#include "actors/pipeline/attention_job.hpp"
#include "actors/pipeline/resident_attention.hpp"
#include "actors/pipeline/tensor_job.hpp"
#include "tests/actors/tensors.hpp"
#include "tests/kernels/attention_problem.hpp"

#include <functional>
#include <new>
#include <optional>
#include <utility>
#include <vector>

using namespace viva;
using namespace viva::actors;
using namespace viva::testing;

namespace {

/// Its shards have nothing to do, unless they are to wait for a disk first.
struct probe final : shard_rounds {
  probe(std::shared_ptr<desk> work, std::size_t shards, unsigned rounds_count)
      : shard_rounds({.name = "w"}, shards, std::move(work)), rounds(rounds_count) {
  }
  using shard_rounds::start;

  expected<unit_tally> run(unsigned, std::size_t, const lane_floor&) override {
    return unit_tally{};
  }
  expected<remote_order> ask(unsigned, std::size_t, std::uint64_t) override {
    return remote_order{};
  }
  std::optional<expected<unit_tally>> settle(unsigned, std::size_t,
                                             const tensor_receipt&) override {
    return {};
  }
  bool must_read(std::size_t) const override {
    return on_disk;
  }
  void read(std::size_t, std::function<bool()> wanted, std::function<void()> then) override {
    is_wanted = std::move(wanted);
    was_read = then;
    reads.push_back(std::move(then));
  }
  bool round_done(unsigned round) override {
    return round + 1 < rounds;
  }
  void deliver(std::optional<error> why) override {
    ++answers;
    told = why ? *why : error{};
    if (to)
      to->set(why ? expected<tensor_id>(tl::unexpected(told)) : tensor_id{});
  }

  /// What it was to be called back by holds it.
  void forget() {
    is_wanted = nullptr;
    was_read = nullptr;
    reads.clear();
  }

  const unsigned rounds;
  bool on_disk = false;
  std::function<bool()> is_wanted;
  std::function<void()> was_read;
  std::vector<std::function<void()>> reads;
  int answers = 0;
  error told;
  answer_to<tensor_id> to;
};

/// A desk with one lane, whose wake may fail.
struct office {
  std::shared_ptr<desk> work = std::make_shared<desk>(1, 3);
  const std::uint64_t life = work->begin_life(0);
  std::function<void()> on_wake = [] {};

  office() {
    work->lane_up(0, [this] { on_wake(); });
  }
  ~office() { // what is in line holds the desk
    on_wake = [] {};
    work->close({errc::interrupted, "over"});
    work->lane_down(0, false, "over"); // and what its lane has
  }
  unit_ptr turn() {
    handful next;
    work->turn(0, life, next);
    return next.empty() ? nullptr : next.front();
  }
};

[[noreturn]] void no_memory() {
  throw std::bad_alloc();
}

} // namespace

TEST_CASE("shard rounds: units that the desk took before it threw are begun by no lane") {
  office o;
  o.on_wake = no_memory; // by then the desk has all of them
  const auto job = std::make_shared<probe>(o.work, 4, 1);
  REQUIRE_NOTHROW(job->start(0));
  CHECK(job->answers == 1);
  CHECK(job->told.code == errc::over_budget);
  CHECK(job->told.text.find("w: no memory is left") == 0);
  const auto taken = o.turn();
  REQUIRE(taken != nullptr);
  CHECK_FALSE(taken->begin()); // the caller's bytes are gone by now
  CHECK(job->answers == 1);
}

TEST_CASE("shard rounds: a desk that throws while a lane works on it is told behind that lane") {
  office o;
  unit_ptr runs;
  o.on_wake = [&] {
    runs = o.turn();
    CHECK(runs->begin());
    no_memory();
  };
  const auto job = std::make_shared<probe>(o.work, 4, 1);
  REQUIRE_NOTHROW(job->start(0));
  CHECK(job->answers == 0);
  runs->finish();
  CHECK(job->answers == 1);
  CHECK(job->told.code == errc::over_budget);
}

TEST_CASE("shard rounds: no memory for the second round is an error, not the end of the program") {
  office o;
  const auto job = std::make_shared<probe>(o.work, 1, 2);
  job->start(0);
  const auto first = o.turn();
  REQUIRE(first != nullptr);
  REQUIRE(first->begin());
  CHECK(o.turn() == nullptr); // the lane sleeps, and is to be woken
  o.on_wake = no_memory;
  first->finish();
  CHECK(job->answers == 1);
  CHECK(job->told.code == errc::over_budget);
}

TEST_CASE("shard rounds: a shard that waits for a disk leaves its lane, and comes back once") {
  office o;
  const auto job = std::make_shared<probe>(o.work, 1, 1);
  job->on_disk = true;
  job->start(0);
  const auto first = o.turn();
  REQUIRE(first != nullptr);
  REQUIRE(first->begin());
  CHECK(first->remote()->order(o.life) == nullptr);
  CHECK(o.turn() == nullptr);
  first->finish();
  REQUIRE(job->was_read != nullptr);
  CHECK(o.turn() == nullptr); // nothing is in line meanwhile
  SECTION("read, and done") {
    job->on_disk = false;
    std::exchange(job->was_read, nullptr)();
    const auto again = o.turn();
    REQUIRE(again != nullptr);
    REQUIRE(again->begin());
    CHECK(again->remote()->order(o.life) == nullptr);
    CHECK(job->answers == 0);
    again->finish();
    CHECK(job->answers == 1);
    CHECK(job->told.code == errc::ok);
  }
  SECTION("cancelled: the answer waits for who reads") {
    CHECK(job->is_wanted());
    job->withdraw(errc::interrupted);
    CHECK(job->answers == 0);
    CHECK_FALSE(job->is_wanted());
    std::exchange(job->was_read, nullptr)();
    CHECK(job->answers == 1);
    CHECK(job->told.code == errc::interrupted);
    CHECK(o.turn() == nullptr);
  }
  job->forget();
}

TEST_CASE("shard rounds: of many shards on a disk few are read before others are done") {
  office o;
  constexpr std::size_t shards = 40, at_once = 8;
  const auto job = std::make_shared<probe>(o.work, shards, 1);
  job->on_disk = true;
  job->start(0);
  const auto run_all = [&] {
    while (const auto unit = o.turn()) {
      if (!unit->begin())
        continue;
      CHECK(unit->remote()->order(o.life) == nullptr);
      unit->finish();
    }
  };
  run_all();
  CHECK(job->reads.size() == at_once);
  SECTION("all are done in the end") {
    std::size_t done = 0;
    for (; done < shards && !job->reads.empty(); ++done) {
      CHECK(job->reads.size() <= at_once);
      const auto read = job->reads.back();
      job->reads.pop_back();
      read();
      job->on_disk = false; // this one is there
      const auto unit = o.turn();
      REQUIRE(unit != nullptr);
      REQUIRE(unit->begin());
      CHECK(unit->remote()->order(o.life) == nullptr);
      unit->finish();
      job->on_disk = true; // the one that is let in is not
      run_all();
    }
    CHECK(done == shards);
    CHECK(job->answers == 1);
    CHECK(job->told.code == errc::ok);
  }
  SECTION("withdrawn, it is answered behind those that are read") {
    job->withdraw(errc::interrupted);
    for (const auto& read : job->reads) {
      CHECK(job->answers == 0);
      read();
    }
    CHECK(job->answers == 1);
    run_all();
    CHECK(job->answers == 1);
  }
  job->forget();
}

TEST_CASE("late comer: work that is withdrawn while it begins is withdrawn once it has begun") {
  std::vector<errc> told;
  const auto by = [&] { return [&](errc why) { told.push_back(why); }; };
  SECTION("while") {
    late_comer work;
    REQUIRE(work.begin());
    CHECK(work.go(errc::interrupted)); // there is nothing to tell yet
    CHECK(told.empty());
    work.has_begun(by);
    CHECK(told == std::vector{errc::interrupted});
  }
  SECTION("before: it never begins") {
    late_comer work;
    CHECK_FALSE(work.go(errc::timed_out));
    CHECK_FALSE(work.begin());
  }
  SECTION("after") {
    late_comer work;
    REQUIRE(work.begin());
    work.has_begun(by);
    CHECK(work.go(errc::timed_out));
    CHECK(told == std::vector{errc::timed_out});
  }
  SECTION("without memory to be withdrawn it goes on") {
    late_comer work;
    REQUIRE(work.begin());
    work.has_begun([]() -> std::function<void(errc)> { no_memory(); });
    CHECK(work.go(errc::interrupted));
  }
}

TEST_CASE("late comer: a resident tensor's work that nobody wants while it begins is answered") {
  pipeline_floor floor({.lanes = 1});
  const auto got = admitted<tensor_id>(
    floor, 8, "w", {}, [&](budget::lease, const answer_to<tensor_id>& to) {
      const auto job = std::make_shared<probe>(floor.work, 3, 1);
      job->to = to;
      to->withdraw(errc::interrupted);
      job->start(0);
      CHECK(job->answers == 0);
      return job;
    });
  CHECK(got.ready()); // no lane is there to notice
  floor.work->close({errc::interrupted, "over"});
}

namespace {

/// Regions that lane processes would see, and what the budget had in use when each went.
struct ground {
  std::shared_ptr<budget> room = std::make_shared<budget>(budget::amount{1 << 30, 8}, 4);
  std::shared_ptr<desk> line = std::make_shared<desk>(2, 3); // its lanes are never up
  std::vector<std::uint64_t> gone;
  std::shared_ptr<shared_table> shares = std::make_shared<shared_table>(
    [this] { gone.push_back(room->used().bytes); }, false);
  std::shared_ptr<resident_store> store = std::make_shared<resident_store>();

  ~ground() { // what is in line holds the desk
    line->close({errc::interrupted, "over"});
    line->lane_down(0, false, "over");
  }
  budget::lease lease(std::uint64_t bytes) const {
    auto got = room->admit({bytes, 1}, on_full::refuse, no_deadline);
    REQUIRE(got.has_value());
    return std::move(*got);
  }
  /// Withdrawn, it stays in line and holds nothing.
  template <class T>
  void check(shard_rounds& job, outcome<expected<T>>& answer, std::size_t regions) const {
    REQUIRE(line->count().waiting > 0);
    REQUIRE(gone.empty());
    job.withdraw(errc::interrupted);
    CHECK(answer.take().error().code == errc::interrupted);
    CHECK(line->count().waiting > 0);
    CHECK(gone.size() == regions);
    CHECK(std::ranges::all_of(gone, [](std::uint64_t used) { return used > 0; }));
    CHECK(room->used().bytes == 0);
  }
  resident_place place() const {
    return {line, store, 2, shares};
  }
  std::shared_ptr<resident_tensor> put(std::uint64_t number, const tensor_view& view) const {
    auto made = std::make_shared<resident_tensor>(number, "w", view, file_source{},
                                                  budget::lease{});
    REQUIRE(made->lie_in(shares));
    return made;
  }
};

} // namespace

TEST_CASE("cancelled work that stays in line holds no memory, and gave it up before the budget") {
  ground g;
  const auto values = normal_values(64 * 1024, 1);
  const auto view = matrix_of(values, 64);
  SECTION("a tensor") {
    const auto answer = std::make_shared<outcome<expected<encoded>>>();
    const auto how = kernels::parse_recipe("nf4", dtype::f32).value();
    const auto job = std::make_shared<tensor_job>(shard_rounds::order{"w"}, how, view, g.line, 2,
                                                  g.shares, answer);
    job->begin(g.lease(job->bytes()));
    g.check(*job, *answer, 2); // source and planes
  }
  const kernels::testing::problem made({.heads = 2, .kv_heads = 2, .queries = 3, .keys = 1024,
                                        .head_size = 32},
                                       dtype::f32, false, 1);
  SECTION("attention") {
    const auto answer = std::make_shared<outcome<expected<attended>>>();
    const auto job = std::make_shared<attention_job>(shard_rounds::order{"a"},
                                                     attention_view{made.of, made.in()}, g.line,
                                                     g.shares, lane_grid{}, answer);
    job->begin(g.lease(job->bytes()));
    g.check(*job, *answer, 4); // q, k, v and what comes of them
  }
  const auto k = g.put(1, view), v = g.put(2, view);
  SECTION("attention to residents") {
    const auto answer = std::make_shared<outcome<expected<attended>>>();
    const auto job = std::make_shared<resident_attention_job>(
      shard_rounds::order{"r"},
      resident_attention{made.of, made.in().q, {1}, {2}}, g.place(), k, v, answer);
    job->begin(g.lease(job->bytes()));
    g.check(*job, *answer, 2); // q, and what comes of it
  }
  SECTION("a fetch") {
    const auto how = kernels::parse_recipe("int8", dtype::f32).value();
    const auto child = std::make_shared<resident_tensor>(3, k, how, budget::lease{});
    const auto answer = std::make_shared<outcome<expected<encoded>>>();
    const auto job = fetch_resident(shard_rounds::order{"f"}, g.place(), child, g.lease(100),
                                    answer);
    g.check(*job, *answer, 0);
  }
}

TEST_CASE("a shard that is made again for once leaves no memory behind when it is done") {
  ground g;
  const auto values = normal_values(64 * 1024, 1);
  const auto source = g.put(1, matrix_of(values, 64));
  const auto how = kernels::parse_recipe("int8", dtype::f32).value();
  const auto child = std::make_shared<resident_tensor>(3, source, how, budget::lease{});
  REQUIRE(child->lie_in(g.shares));
  source->dropped = true;
  source->leave_region();
  REQUIRE(g.gone.size() == 1);
  const auto answer = std::make_shared<outcome<expected<encoded>>>();
  const auto job = fetch_resident(shard_rounds::order{"f"}, g.place(), child, g.lease(100), answer);
  const auto life = g.line->begin_life(0);
  handful got;
  g.line->turn(0, life, got);
  REQUIRE(got.size() == 1);
  REQUIRE(got[0]->begin());
  CHECK(got[0]->remote()->order(life)->order.steps.size() == 1);
  CHECK(g.gone.size() == 1); // the source's rows lie in memory of their own
  REQUIRE(got[0]->remote()->settle({}));
  CHECK(g.gone.size() == 2);
  got[0]->finish();
  CHECK(answer->take().has_value());
}
