// Errands of two nodes that were given the same shard: whose bytes are written, and when.

#include "actors/assignment.hpp"
#include "actors/node/errands.hpp"
#include "actors/shard_ranges.hpp"
#include "actors/shard_work.hpp"
#include "formats/checkpoint.hpp"
#include "tests/actors/node_processes.hpp"
#include "tests/support/bulk_ground.hpp"

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
  std::uint32_t encoded_shard() const {
    const auto at = std::ranges::find(site->work.shards, task::encode, &shard::what);
    REQUIRE(at != site->work.shards.end());
    return static_cast<std::uint32_t>(at - site->work.shards.begin());
  }
  /// What lies in OUT.partial for it.
  std::uint64_t checksum(std::uint32_t shard) const {
    return output_checksum(site->work, site->place, site->work.shards[shard]).value();
  }
};

/// A node that has done one shard, and the coordinator's errands with it.
class pretend_node {
public:
  pretend_node(const job& of, const std::string& name) : x_job(of), x_site(of.open(name)) {
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
    auto by = std::make_unique<node::courier>(
      node::courier_options{on.threads, on.where(), a_job, {},
                            [&of](std::uint32_t n) { return of.goods->files[n]; },
                            [](std::uint32_t n) { return std::to_string(n); }},
      [this](const node::arrival& what) {
        const std::lock_guard hold(x_guard);
        x_arrived.push_back(what);
      });
    errands.emplace(of.site, of.goods, of.of_job, std::move(by),
                    node::errands::hooks{
                      [this](node::word what, const std::string&) { said.push_back(what); },
                      [this](std::uint32_t, std::uint32_t, const std::string& bytes) {
                        delivered.push_back(decode_receipts(bytes).value());
                      },
                      [this] { ++called; }});
  }
  ~pretend_node() {
    errands.reset();
    on.server->close_job(a_job);
  }

  /// From the order to the lane's receipt, whose bytes lie here now.
  void computes(std::uint32_t shard) {
    const ticket id{shard, 1};
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
