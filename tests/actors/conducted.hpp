#pragma once

// A job's policy whose commands are looked at one by one.

#include "actors/job_policy.hpp"
#include "tests/support/catch.hpp"

namespace viva::testing {


/// `shards` shards of 1 MiB to be copied, each of which travels alone, into an output of one file.
inline actors::plan work_of(std::uint32_t shards) {
  actors::plan p;
  p.job = "copy";
  p.output.files.emplace_back();
  actors::work_tensor tensor;
  tensor.name = "weight";
  tensor.rows = std::uint64_t{shards} << 20;
  tensor.cols = 1;
  p.tensors.push_back(tensor);
  for (std::uint64_t s = 0; s < shards; ++s)
    p.shards.push_back({actors::task::copy, 0, s << 20, 1 << 20, 1 << 20});
  return p;
}

/// A policy whose commands are looked at one by one.
struct conducted {
  actors::plan work;
  actors::job_policy policy;
  std::vector<actors::command> said;
  std::size_t heard = 0;

  explicit conducted(std::uint32_t shards, actors::policy_options options = {},
                     actors::earlier_run earlier = {})
      : work(work_of(shards)), policy(work, options, earlier) {
  }
  /// The next command of this kind, which must be the next at all.
  template <class T>
  T next() {
    for (auto& each : policy.take_commands())
      said.push_back(std::move(each));
    REQUIRE(heard < said.size());
    auto* found = std::get_if<T>(&said[heard++]);
    REQUIRE(found != nullptr);
    return *found;
  }
  bool silent() {
    for (auto& each : policy.take_commands())
      said.push_back(std::move(each));
    return heard == said.size();
  }
  void come_home(const actors::hand_out& out) {
    actors::batch_receipt receipt{out.lane, out.number, {}};
    for (const auto& each : out.tasks)
      receipt.shards.push_back({each.id, 7u + each.id.shard, {}, {}});
    policy.take_receipt(receipt);
  }
  void die(const actors::hand_out& out, bool blames_shard = true) {
    policy.lane_down(out.lane, {out.tasks[0].id.shard, blames_shard, "crash"});
  }
  std::vector<std::uint32_t> shards_of(const actors::hand_out& out) const {
    std::vector<std::uint32_t> all;
    for (const auto& each : out.tasks)
      all.push_back(each.id.shard);
    return all;
  }
};

using shard_list = std::vector<std::uint32_t>;

} // namespace viva::testing
