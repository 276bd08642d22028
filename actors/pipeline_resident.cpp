// The pipeline's resident tensors: what a caller asks, checked, admitted, and sent to its lanes.

#include "actors/pipeline.hpp"

#include "actors/pipeline/answering.hpp"
#include "actors/pipeline/resident_jobs.hpp"

#include <utility>

namespace viva {

namespace {

using actors::resident_tensor;
using actors::shard_rounds;

error no_such(tensor_id id) {
  return {errc::bad_option, "there is no tensor " + std::to_string(id.number)
                              + "; it was dropped, or is another pipeline's"};
}

using actors::admitted;
using actors::answered;
using actors::refused;
using actors::answer_to;

/// Starts what makes the shards of a tensor; null where there is no memory for them.
std::shared_ptr<shard_rounds> build(const actors::resident_place& place,
                                    std::shared_ptr<resident_tensor> tensor,
                                    shard_rounds::order what, const answer_to<tensor_id>& answer) {
  if (place.shares != nullptr)
    if (auto fine = tensor->lie_in(place.shares); !fine) {
      answer->set(tl::unexpected(fine.error()));
      return nullptr;
    }
  return actors::build_resident(std::move(what), place, std::move(tensor), answer);
}

future<expected<tensor_id>> put_source(actors::pipeline_floor& floor, std::string name,
                                       const tensor_view& view, actors::file_source file,
                                       const submit_options& options) {
  // The cheapest method of all asks of a shape what every method asks.
  const auto any = kernels::parse_recipe("int8", view.type);
  if (auto fine = actors::check_view(*any, view, name); !fine)
    return refused<tensor_id>(fine.error());
  const shard_rounds::order what{name, options.how_urgent, options.until};
  return admitted<tensor_id>(
    floor, view.values() * kernels::bytes_of(view.type), name, options,
    [=, place = floor.residents(), file = std::move(file)](actors::budget::lease lease,
                                                           const answer_to<tensor_id>& answer) {
      return build(place,
                   std::make_shared<resident_tensor>(place.store->next_number(), what.name, view,
                                                     file, std::move(lease)),
                   what, answer);
    });
}

/// A tensor's encoded form, made from it and staying.
future<expected<tensor_id>> quantize_resident(actors::pipeline_floor& floor, tensor_id id,
                                              const method_words& words,
                                              const submit_options& options) {
  const auto parent = floor.store->find(id.number);
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
  const shard_rounds::order what{parent->name, options.how_urgent, options.until};
  return admitted<tensor_id>(
    floor, map_planes(*how, parent->shape.rows, parent->shape.cols).total, parent->name, options,
    [=, place = floor.residents(), how = *how](actors::budget::lease lease,
                                               const answer_to<tensor_id>& answer) {
      return build(place,
                   std::make_shared<resident_tensor>(place.store->next_number(), parent, how,
                                                     std::move(lease)),
                   what, answer);
    });
}

future<expected<encoded>> fetch_encoded(actors::pipeline_floor& floor, tensor_id id,
                                        const submit_options& options) {
  const auto tensor = floor.store->find(id.number);
  if (!tensor)
    return refused<encoded>(no_such(id));
  if (!tensor->is_encoded())
    return refused<encoded>(
      {errc::unsupported, tensor->name + ": is not encoded; quantize it first"});
  const shard_rounds::order what{tensor->name, options.how_urgent, options.until};
  return admitted<encoded>(
    floor, map_planes(tensor->how, tensor->shape.rows, tensor->shape.cols).total, tensor->name,
    options,
    [=, place = floor.residents()](actors::budget::lease lease,
                                   const answer_to<encoded>& answer) {
      return actors::fetch_resident(what, place, tensor, std::move(lease), answer);
    });
}

std::string words_of(tensor_id id) {
  return "tensor " + std::to_string(id.number);
}

} // namespace

future<expected<tensor_id>> pipeline::put(std::string name, const tensor_view& view,
                                          submit_options options) {
  return answered<tensor_id>(name, [&] {
    return put_source(*x_floor, name, view, {}, options);
  });
}

future<expected<tensor_id>> pipeline::put(std::string name, const file_values& values,
                                          submit_options options) {
  static constexpr std::byte elsewhere{}; // never read: a file's values are not in memory
  const tensor_view shape{&elsewhere, values.rows, values.cols, 0, values.type};
  return answered<tensor_id>(name, [&] {
    const auto file = actors::file_source::of(values);
    return file ? put_source(*x_floor, name, shape, *file, options)
                : refused<tensor_id>({file.error().code, name + ": " + file.error().text});
  });
}

future<expected<tensor_id>> pipeline::quantize(tensor_id id, const method_words& words,
                                               submit_options options) {
  return answered<tensor_id>(words_of(id), [&] {
    return quantize_resident(*x_floor, id, words, options);
  });
}

future<expected<encoded>> pipeline::fetch(tensor_id id, submit_options options) {
  return answered<encoded>(words_of(id), [&] { return fetch_encoded(*x_floor, id, options); });
}

void pipeline::release_source(tensor_id id) {
  if (const auto tensor = x_floor->store->known(id.source != 0 ? id.source : id.number))
    tensor->release_source();
}

void pipeline::drop(tensor_id id) {
  if (const auto tensor = x_floor->store->remove(id.number))
    actors::forget_resident(x_floor->residents(), tensor);
}

} // namespace viva
