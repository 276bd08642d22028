#pragma once

// What can be asked of resident tensors, each as rounds over its shards, each shard on its lane.

#include "actors/pipeline/resident_store.hpp"
#include "actors/pipeline/shard_rounds.hpp"
#include "actors/pipeline/tensor_id.hpp"

namespace viva::actors {

template <class T>
using answer_to = std::shared_ptr<outcome<expected<T>>>;

struct resident_place {
  std::shared_ptr<desk> work;
  std::shared_ptr<resident_store> store;
  std::uint32_t lanes = 1;
  std::shared_ptr<shared_table> shares{}; ///< Where lanes are processes.
};

/// Builds every shard of a tensor, then answers its number. An encoded one of a method that needs a
/// number of the whole tensor is surveyed first.
std::shared_ptr<shard_rounds> build_resident(shard_rounds::order, const resident_place&,
                                             std::shared_ptr<resident_tensor>,
                                             answer_to<tensor_id>);
/// Brings an encoded tensor together.
std::shared_ptr<shard_rounds> fetch_resident(shard_rounds::order, const resident_place&,
                                             std::shared_ptr<resident_tensor>, budget::lease,
                                             answer_to<encoded>);
/// Takes a tensor that was dropped off all shelves; then what it held of the budget goes back.
/// Where there is no memory to do so it is as if it had not been dropped.
void forget_resident(const resident_place&, const std::shared_ptr<resident_tensor>&) noexcept;

} // namespace viva::actors
