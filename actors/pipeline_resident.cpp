// The pipeline's resident tensors: what a caller asks, checked, admitted, and sent to its lanes.

#include "actors/pipeline.hpp"

#include "actors/pipeline/house.hpp"
#include "actors/pipeline/resident_jobs.hpp"

#include <utility>

namespace viva {

namespace {

using actors::resident_tensor;
using actors::shard_rounds;

template <class T>
future<expected<T>> refused(error why) {
  auto answer = std::make_shared<outcome<expected<T>>>();
  answer->set(tl::unexpected(std::move(why)));
  return future<expected<T>>{answer};
}

error no_such(tensor_id id) {
  return {errc::bad_option, "there is no tensor " + std::to_string(id.number)
                              + "; it was dropped, or is another pipeline's"};
}

/// Room in the budget; a tensor that stays holds bytes and no ticket.
expected<actors::budget::lease> admit(actors::pipeline_floor& floor, std::uint64_t bytes,
                                      const std::string& name, const submit_options& options) {
  const auto mode = options.when_full == on_full::refuse ? on_full::refuse : on_full::block;
  auto lease = floor.room->admit({bytes, 0}, mode, options.until);
  if (!lease)
    return fail(lease.error().code, name + ": " + lease.error().text);
  return lease;
}

future<expected<tensor_id>> build(actors::pipeline_floor& floor,
                                  std::shared_ptr<resident_tensor> tensor,
                                  const submit_options& options) {
  if (floor.shares != nullptr)
    if (auto fine = tensor->lie_in(floor.shares); !fine)
      return refused<tensor_id>(fine.error());
  auto answer = std::make_shared<outcome<expected<tensor_id>>>();
  future<expected<tensor_id>> result{answer};
  shard_rounds::order what{tensor->name, options.how_urgent, options.until};
  const auto job = actors::build_resident(std::move(what), floor.residents(), std::move(tensor),
                                          answer);
  answer->on_withdraw(actors::withdraws(job), options.until, floor.arm());
  return result;
}

future<expected<tensor_id>> put_source(actors::pipeline_floor& floor, std::string name,
                                       const tensor_view& view, std::filesystem::path file,
                                       std::uint64_t offset, const submit_options& options) {
  // The cheapest method of all asks of a shape what every method asks.
  const auto any = kernels::parse_recipe("int8", view.type);
  if (auto fine = actors::check_view(*any, view, name); !fine)
    return refused<tensor_id>(fine.error());
  auto lease = admit(floor, view.values() * kernels::bytes_of(view.type), name, options);
  if (!lease)
    return refused<tensor_id>(lease.error());
  return build(floor,
               std::make_shared<resident_tensor>(floor.store->next_number(), std::move(name), view,
                                                 std::move(file), offset, std::move(*lease)),
               options);
}

} // namespace

future<expected<tensor_id>> pipeline::put(std::string name, const tensor_view& view,
                                          submit_options options) {
  return put_source(*x_floor, std::move(name), view, {}, 0, options);
}

future<expected<tensor_id>> pipeline::put(std::string name, const file_values& values,
                                          submit_options options) {
  static constexpr std::byte elsewhere{}; // never read: a file's values are not in memory
  const tensor_view shape{&elsewhere, values.rows, values.cols, 0, values.type};
  return put_source(*x_floor, std::move(name), shape, values.path, values.offset, options);
}

future<expected<tensor_id>> pipeline::quantize(tensor_id id, const method_words& words,
                                               submit_options options) {
  const auto parent = x_floor->store->find(id.number);
  if (!parent)
    return refused<tensor_id>(no_such(id));
  if (parent->is_encoded())
    return refused<tensor_id>({errc::unsupported, parent->name + ": is encoded as "
                                                    + parent->how.name()
                                                    + " already; quantize what it was made from"});
  const auto how = kernels::parse_recipe(words.text, parent->shape.type);
  if (!how)
    return refused<tensor_id>(how.error());
  if (auto fine = actors::check_view(*how, parent->shape, parent->name); !fine)
    return refused<tensor_id>(fine.error());
  const auto grain = how->row->shape(*how, parent->shape.cols).rows_grain;
  if (parent->rows.size() > 1 && parent->rows[1].first % grain != 0)
    return refused<tensor_id>({errc::unsupported, parent->name + ": shards of "
                                                    + std::to_string(parent->rows[1].first)
                                                    + " rows are no whole runs of " + how->name()
                                                    + "; quantize a view of it"});
  auto lease = admit(*x_floor, map_planes(*how, parent->shape.rows, parent->shape.cols).total,
                     parent->name, options);
  if (!lease)
    return refused<tensor_id>(lease.error());
  return build(*x_floor,
               std::make_shared<resident_tensor>(x_floor->store->next_number(), parent, *how,
                                                 std::move(*lease)),
               options);
}

future<expected<encoded>> pipeline::fetch(tensor_id id, submit_options options) {
  const auto tensor = x_floor->store->find(id.number);
  if (!tensor)
    return refused<encoded>(no_such(id));
  if (!tensor->is_encoded())
    return refused<encoded>(
      {errc::unsupported, tensor->name + ": is not encoded; quantize it first"});
  auto lease = admit(*x_floor,
                     map_planes(tensor->how, tensor->shape.rows, tensor->shape.cols).total,
                     tensor->name, options);
  if (!lease)
    return refused<encoded>(lease.error());
  auto answer = std::make_shared<outcome<expected<encoded>>>();
  future<expected<encoded>> result{answer};
  shard_rounds::order what{tensor->name, options.how_urgent, options.until};
  const auto job = actors::fetch_resident(std::move(what), x_floor->residents(), tensor,
                                          std::move(*lease), answer);
  answer->on_withdraw(actors::withdraws(job), options.until, x_floor->arm());
  return result;
}

void pipeline::release_source(tensor_id id) {
  if (const auto tensor = x_floor->store->find(id.number))
    tensor->release_source();
}

void pipeline::drop(tensor_id id) {
  if (auto tensor = x_floor->store->remove(id.number))
    actors::forget_resident(x_floor->residents(), std::move(tensor));
}

} // namespace viva
