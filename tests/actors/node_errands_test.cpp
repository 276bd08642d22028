// Errands of two nodes that were given the same shard: whose bytes are written, and when.

#include "actors/assignment.hpp"
#include "actors/node/dock.hpp"
#include "actors/node/errands.hpp"
#include "actors/shard_ranges.hpp"
#include "actors/shard_work.hpp"
#include "formats/checkpoint.hpp"
#include "tests/actors/node_processes.hpp"
#include "tests/support/bulk_ground.hpp"
#include "tests/support/proxy.hpp"

#include <algorithm>
#include <deque>
#include <filesystem>
#include <mutex>

using namespace viva;
using namespace viva::actors;
using namespace viva::tests;

namespace {

/// A job, and beside it what lanes make of its shards, as it would lie on a node.
struct job {
  temporary_folder folder;
  site_ptr site;
  std::shared_ptr<const node::freight> goods;
  std::shared_ptr<node::claims> of_job;

  job() {
    REQUIRE(viva::tests::viva({"synth", (folder / "source").string(), "--size", "1MiB"}).code == 0);
    site = open("out");
    const auto what = decode_assignment(site->assignment);
    REQUIRE(what);
    auto loaded = node::load_freight(*what, site->work);
    REQUIRE(loaded);
    goods = std::move(*loaded);
    of_job = std::make_shared<node::claims>(site->work.shards.size());
  }
  site_ptr open(const std::string& name) const {
    quantize_spec spec;
    spec.source = folder / "source";
    spec.output = folder / name;
    spec.method = "nf4";
    auto from = formats::open_checkpoint(spec.source);
    REQUIRE(from);
    auto work = plan_quantize(*from, spec, {});
    REQUIRE(work);
    REQUIRE(fit_memory(*work, spec.limits, 1));
    auto place = workplace::open(*work, spec.output, nullptr);
    REQUIRE(place);
    auto made = std::make_shared<job_site>(std::move(*work), std::move(*place), fault_plan{},
                                           false);
    made->assignment = encode(assignment{spec, {}, 1}, made->work,
                              made->place.partial_identity());
    return made;
  }
  /// The first, or the one behind so many.
  std::uint32_t encoded_shard(std::size_t behind = 0) const {
    const auto& all = site->work.shards;
    for (std::uint32_t s = 0; s < all.size(); ++s)
      if (all[s].what == task::encode && behind-- == 0)
        return s;
    FAIL("so many shards are not encoded");
    return 0;
  }
  /// What lies in OUT.partial for it.
  std::uint64_t checksum(std::uint32_t shard) const {
    return output_checksum(site->work, site->place, site->work.shards[shard]).value();
  }
};

/// A node that has done one shard, and the coordinator's errands with it.
class pretend_node {
public:
  /// `far`: over a bad network, `between`.
  pretend_node(const job& of, const std::string& name, bool far = false)
    : x_job(of), x_site(of.open(name)) {
    const auto& files = of.goods->list.files;
    const auto outputs = node::partial_files(x_site->work, of.folder / name);
    for (std::size_t i = 0; i < files.size(); ++i) {
      const auto at = x_files.size() + outputs.size() - files.size(); // outputs come last
      const auto file = files[i].written ? outputs[at] : of.folder / (name + std::to_string(i));
      x_files.push_back(std::make_shared<const supervision::descriptor>(
        ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)));
      REQUIRE(*x_files.back());
      REQUIRE(::ftruncate(x_files.back()->get(), static_cast<off_t>(files[i].bytes)) == 0);
    }
    on.server->open_job(a_job, [this](node::access, const node::range& what) {
      return expected<node::shared_file>(x_files[what.file]);
    });
    auto where = on.where();
    if (far)
      where.port = between.emplace(where.port).port();
    auto by = std::make_unique<node::courier>(
      node::courier_options{on.threads, where, a_job, {},
                            [&of](std::uint32_t n) { return of.goods->files[n]; },
                            [](std::uint32_t n) { return std::to_string(n); }},
      [this](const node::arrival& what) {
        const std::lock_guard hold(x_guard);
        x_arrived.push_back(what);
      });
    errands.emplace(of.site, of.goods, of.of_job, std::move(by),
                    node::errands::hooks{
                      [this](node::word what, const std::string&) { said.push_back(what); },
                      [this](std::uint32_t, std::uint32_t, std::uint64_t,
                             const std::string& bytes) {
                        delivered.push_back(decode_receipts(bytes).value());
                      },
                      [this] { ++called; }});
  }
  ~pretend_node() {
    errands.reset();
    on.server->close_job(a_job);
  }

  /// From the order to the lane's receipt, whose bytes lie here now.
  void computes(std::uint32_t shard, std::uint32_t run = 1) {
    const ticket id{shard, run};
    REQUIRE(errands->take({0, 1, encode(work_order{7, {{{id, {}, {}}, {}}}})}).code == errc::ok);
    REQUIRE(errands->ready({7}).code == errc::ok);
    REQUIRE(next().code == errc::ok);
    auto made = run_shard(x_site->work, x_site->place, x_site->work.shards[shard], {}, {});
    REQUIRE(made);
    receipt = {id, made->checksum, made->findings, {}, {}};
  }
  /// A byte of them is another one, as if a disk had turned it.
  void spoils(std::uint32_t shard) {
    for (const auto& each : x_job.goods->numbers.of_outputs(
           output_ranges(x_site->work, x_site->work.shards[shard]))) {
      char byte = 0;
      const auto at = static_cast<off_t>(each.offset);
      REQUIRE(::pread(x_files[each.file]->get(), &byte, 1, at) == 1);
      byte = static_cast<char>(byte ^ 1);
      REQUIRE(::pwrite(x_files[each.file]->get(), &byte, 1, at) == 1);
    }
  }
  error tells() {
    return errands->receipts({0, 1, encode(work_receipts{7, 0, {{receipt, {}}}})});
  }
  /// What came of the next thing that comes over the bulk path.
  error next() {
    node::arrival what;
    REQUIRE(comes_true([&] {
      const std::lock_guard hold(x_guard);
      if (x_arrived.empty())
        return false;
      what = x_arrived.front();
      x_arrived.pop_front();
      return true;
    }));
    return errands->arrived(what);
  }
  std::uint64_t bytes_fetched() const {
    return on.server->counts().bytes_out;
  }

  bulk_ground on;
  std::optional<proxy> between;
  std::optional<node::errands> errands;
  std::vector<node::word> said;
  std::vector<work_receipts> delivered;
  shard_receipt receipt;
  int called = 0;

private:
  const job& x_job;
  site_ptr x_site;
  std::vector<node::shared_file> x_files;
  std::mutex x_guard;
  std::deque<node::arrival> x_arrived;
};

} // namespace

TEST_CASE("errands: of two runs of a shard the second is not fetched where the first was right",
          "[node]") {
  const job on;
  const auto shard = on.encoded_shard();
  pretend_node a(on, "a"), b(on, "b");
  a.computes(shard);
  b.computes(shard);
  const bool same = GENERATE(true, false);
  if (!same)
    ++b.receipt.checksum;
  REQUIRE(a.tells().code == errc::ok);
  REQUIRE(b.tells().code == errc::ok); // while the first is fetched
  CHECK(b.errands->fetches(0, 1));
  CHECK(b.delivered.empty());
  REQUIRE(a.next().code == errc::ok);
  REQUIRE(a.delivered.size() == 1);
  CHECK(b.called == 1);
  b.errands->look_again();
  REQUIRE(b.next().code == errc::ok);
  REQUIRE(b.delivered.size() == 1);
  CHECK(b.said.back() == node::word::let_go);
  CHECK(b.bytes_fetched() == 0);
  CHECK(a.bytes_fetched() > 0);
  const auto& told = b.delivered[0].shards[0].receipt;
  CHECK(told.problem.code == (same ? errc::ok : errc::job_failed));
  CHECK(on.checksum(shard) == a.receipt.checksum);
}

TEST_CASE("errands: a run whose bytes came otherwise is fetched from the other node", "[node]") {
  const job on;
  const auto shard = on.encoded_shard();
  pretend_node a(on, "a"), b(on, "b");
  a.computes(shard);
  b.computes(shard);
  a.spoils(shard);
  REQUIRE(a.tells().code == errc::ok);
  REQUIRE(b.tells().code == errc::ok);
  CHECK(a.next().code == errc::fault);
  CHECK(a.delivered.empty());
  CHECK(on.checksum(shard) != a.receipt.checksum);
  CHECK(b.called == 0); // the first may still write
  a.errands.reset();    // as its link does
  CHECK(b.called == 1);
  b.errands->look_again();
  REQUIRE(b.next().code == errc::ok);
  REQUIRE(b.delivered.size() == 1);
  CHECK(b.delivered[0].shards[0].receipt.problem.code == errc::ok);
  CHECK(b.bytes_fetched() > 0);
  CHECK(on.checksum(shard) == b.receipt.checksum);
}

TEST_CASE("errands: a second run that is done does not wait for a fetch that trickles", "[node]") {
  const job on;
  const auto before = on.encoded_shard(), shard = on.encoded_shard(1);
  pretend_node slow(on, "slow", true), swift(on, "swift");
  slow.computes(before); // so that its way back is open, and its answers are under way there
  REQUIRE(slow.tells().code == errc::ok);
  REQUIRE(slow.next().code == errc::ok);
  slow.computes(shard);
  swift.computes(shard, 2);
  slow.between->set(proxy::way::back, proxy::mood::hold);
  REQUIRE(slow.tells().code == errc::ok);
  REQUIRE(swift.tells().code == errc::ok);
  CHECK(slow.called == 1); // what it fetches is wanted
  SECTION("the first gives its fetch up, and its bytes, whatever they are, come too late") {
    slow.spoils(shard);
    slow.errands->look_again();
    REQUIRE(slow.next().code == errc::ok);
    CHECK(slow.delivered.size() == 1); // of before
    CHECK(swift.called == 1);
    swift.errands->look_again();
    REQUIRE(swift.next().code == errc::ok);
    REQUIRE(swift.delivered.size() == 1);
    CHECK(on.checksum(shard) == swift.receipt.checksum);
    CHECK(slow.called == 2);
    slow.errands->look_again();
    REQUIRE(slow.next().code == errc::ok); // without a byte, though nothing comes yet
    slow.between->set(proxy::way::back, proxy::mood::forward);
    ::poll(nullptr, 0, 300); // written, they would be by then
    CHECK(on.checksum(shard) == swift.receipt.checksum);
  }
  SECTION("the second is lost behind that, and the first fetches again") {
    slow.errands->look_again();
    REQUIRE(slow.next().code == errc::ok);
    swift.errands.reset();
    CHECK(slow.called == 2);
    slow.between->set(proxy::way::back, proxy::mood::forward);
    slow.errands->look_again();
    REQUIRE(slow.next().code == errc::ok);
  }
  SECTION("the second is lost before that, and the first goes on") {
    swift.errands.reset();
    slow.errands->look_again();
    slow.between->set(proxy::way::back, proxy::mood::forward);
    REQUIRE(slow.next().code == errc::ok);
  }
  REQUIRE(slow.delivered.size() == 2);
  CHECK(slow.delivered[1].shards[0].receipt.problem.code == errc::ok);
  CHECK(on.checksum(shard) == slow.receipt.checksum);
}

TEST_CASE("claims: what a later run wants is let go to nobody else, unless that is gone") {
  node::claims of(2);
  int first = 0, second = 0;
  const auto call_first = [&] { ++first; };
  const auto call_second = [&] { ++second; };
  REQUIRE(of.take({0, 1}, call_first) == std::vector<std::uint32_t>{0, 1});
  CHECK_FALSE(of.take({0}, call_second));
  CHECK_FALSE(of.wanted({0, 1})); // only waited for
  for (int i = 0; i < 2; ++i)
    CHECK_FALSE(of.take({0}, call_second, true));
  CHECK(first == 1); // once
  CHECK(of.wanted({0, 1}));
  CHECK_FALSE(of.wanted({1}));
  of.let_go({0, 1});
  CHECK(second == 3);
  CHECK_FALSE(of.take({0, 1}, call_first));
  SECTION("taken") {
    CHECK(of.take({0}, call_second, true) == std::vector<std::uint32_t>{0});
    CHECK_FALSE(of.wanted({0}));
    of.keep({{0, 77}});
    CHECK(first == 2);
    CHECK(of.take({0, 1}, call_first) == std::vector<std::uint32_t>{1});
  }
  SECTION("gone") {
    of.want_no_more({0});
    CHECK(first == 2);
    CHECK(of.take({0, 1}, call_first) == std::vector<std::uint32_t>{0, 1});
  }
}

TEST_CASE("claims: all that a batch has, or none; who waits is called whenever some are free") {
  node::claims of(4);
  int called = 0;
  const auto call = [&] { ++called; };
  REQUIRE(of.take({0, 1}, call) == std::vector<std::uint32_t>{0, 1});
  CHECK_FALSE(of.take({1, 2}, call));
  CHECK(of.take({2}, call) == std::vector<std::uint32_t>{2}); // nothing of it was taken
  of.let_go({2});
  CHECK(called == 1);
  CHECK_FALSE(of.take({1, 2}, call));
  of.keep({{0, 77}, {1, 78}});
  CHECK(called == 2);
  CHECK(of.take({0, 1, 2}, call) == std::vector<std::uint32_t>{2});
  CHECK(of.checksum(1) == 78);
  CHECK_FALSE(of.checksum(2));
}

TEST_CASE("dock: a range is open while it is its batch's turn, and neither before nor after",
          "[node]") {
  const job on;
  const temporary_folder folder;
  bulk_ground net;
  node::bulk_client by(net.threads, net.where(), a_job);
  const auto at = std::make_shared<node::depot>();
  at->root = node::scratch_root::open(folder.path()).value();
  at->server = std::move(net.server);
  const auto made = node::dock::open(at, a_job, on.goods->list);
  REQUIRE(made);
  auto& dock = **made;
  /// Whether all of them may be written, or read, now; some are never.
  const auto all_or_none = [](std::ptrdiff_t done, std::size_t of) {
    REQUIRE((done == 0 || done == static_cast<std::ptrdiff_t>(of)));
    return done != 0;
  };
  const auto bring = [&](const std::vector<byte_range>& all) {
    return all_or_none(std::ranges::count_if(all, [&](const byte_range& each) {
      return put(by, on.goods->files[each.file], each.offset, each).has_value();
    }), all.size());
  };
  const auto fetch = [&](const std::vector<byte_range>& all) {
    return all_or_none(std::ranges::count_if(all, [&](const byte_range& each) {
      return get(by, each, file_of(""), 0).has_value();
    }), all.size());
  };
  const auto& seeds = on.goods->list.seeds;
  CHECK(bring(seeds));
  CHECK_FALSE(fetch(seeds));
  dock.keep_seeds();
  CHECK_FALSE(bring(seeds));
  auto what = decode_assignment(on.site->assignment);
  REQUIRE(what);
  use_copies(*what, dock.folder());
  const auto work = plan_again(*what);
  REQUIRE(work);
  REQUIRE(dock.take_plan(*work, output_of(*what)));
  const auto shard = on.encoded_shard();
  const auto& numbers = on.goods->numbers;
  const auto reads = numbers.of_sources(source_ranges(*work, work->shards[shard]));
  const auto writes = numbers.of_outputs(output_ranges(*work, work->shards[shard]));
  CHECK_FALSE(bring(reads));
  REQUIRE(dock.begin(1, *work, {shard}));
  CHECK_FALSE(dock.begin(1, *work, {shard})); // it has that one
  CHECK(bring(reads));
  CHECK_FALSE(bring(writes));
  CHECK(dock.arrived(1));
  CHECK_FALSE(dock.arrived(1));
  CHECK_FALSE(bring(reads)); // a lane reads them now
  CHECK_FALSE(fetch(writes)); // and writes these
  dock.offer(1);
  CHECK(fetch(writes));
  CHECK_FALSE(bring(writes));
  dock.end(1);
  CHECK_FALSE(fetch(writes));
  for (const std::uint64_t each : {2, 3})
    REQUIRE(dock.begin(each, *work, {shard}));
  dock.end(2);
  CHECK(bring(reads)); // of both
  dock.end(3);
  CHECK_FALSE(bring(reads));
}
