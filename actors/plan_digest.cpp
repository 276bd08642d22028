#include "actors/plan_digest.hpp"

#include "actors/frame_bytes.hpp"
#include "actors/version.hpp"

#include <xxhash.h>

#include <memory>

namespace viva::actors {
namespace {

/// Hashes what it is given, field by field; texts and lists with their length before them.
class hasher {
public:
  hasher() {
    XXH3_64bits_reset(x_state.get());
  }
  template <class... Fields>
  void add(const Fields&... all) {
    frame_writer out;
    (put(out, all), ...);
    const auto bytes = out.done();
    XXH3_64bits_update(x_state.get(), bytes.data(), bytes.size());
  }
  std::string done() const {
    const auto hash = XXH3_64bits_digest(x_state.get());
    return digest({reinterpret_cast<const char*>(&hash), sizeof hash});
  }

private:
  template <class T>
  static void put(frame_writer& out, const T& value) {
    if constexpr (std::is_enum_v<T>)
      out.put(static_cast<std::uint32_t>(value));
    else
      out.put(value);
  }
  template <class T>
  static void put(frame_writer& out, const std::vector<T>& all) {
    out.put(all.size());
    for (const auto& each : all)
      put(out, each);
  }

  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> x_state{XXH3_createState(),
                                                                         XXH3_freeState};
};

void add(hasher& to, const formats::scale_set& scales) {
  to.add(scales ? *scales : std::vector<float>{});
}

void add(hasher& to, const stored& side) {
  to.add(side.file, side.type, side.begin, side.recipe ? side.recipe->name() : std::string(),
         side.numbers.values[0], side.numbers.values[1], side.planes, side.transposed,
         side.scales.plus);
  add(to, side.scales.columns);
  add(to, side.scales.rows);
}

void add(hasher& to, const work_tensor& t) {
  to.add(t.name, t.dtype, t.shape, t.rows, t.cols, t.group, t.columns_by, t.rows_by, t.transposed,
         t.target ? t.target->name() : std::string(), t.decoded.has_value(),
         t.decoded.value_or(kernels::dtype::f32), t.other.has_value(), t.out.size());
  for (const auto& where : t.out)
    to.add(where.file, where.offset);
  add(to, t.source);
  if (t.other)
    add(to, *t.other);
  if (t.inputs)
    to.add(t.inputs->mean_square, t.inputs->mean_abs);
}

} // namespace

std::string plan_digest(const plan& p) {
  hasher all;
  all.add(std::string(version), p.job, p.layout, p.source_file_bytes, p.tensors.size(),
          p.shards.size());
  for (const auto& file : p.sources)
    all.add(file.filename().native());
  for (const auto& tensor : p.tensors)
    add(all, tensor);
  for (const auto& each : p.shards)
    all.add(each.what, each.tensor, each.first, each.count);
  for (const auto& group : p.groups)
    all.add(group);
  for (const auto& each : p.scalings)
    all.add(each.weights, each.divided, each.plus, each.rows, each.cols);
  for (const auto& file : p.output.files)
    all.add(file.name, file.bytes);
  return all.done();
}

} // namespace viva::actors
