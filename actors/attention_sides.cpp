#include "actors/attention_sides.hpp"

#include "actors/pipeline/attention_job.hpp"
#include "actors/plan.hpp"
#include "formats/encoded.hpp"
#include "formats/shown.hpp"
#include "kernels/convert.hpp"

#include <algorithm>

namespace viva::actors {
namespace {

using formats::logical_tensor;
using kernels::attention::encoded_tensor;
using kernels::attention::strides;

std::string spelled(const std::vector<std::uint64_t>& shape) {
  std::string text = "[";
  for (const auto n : shape)
    text += (text.size() > 1 ? ", " : "") + std::to_string(n);
  return text + "]";
}

tl::unexpected<error> wrong(const attention_spec& spec, const std::string& name, errc code,
                            const std::string& why) {
  return fail(code, formats::shown(spec.source) + ": " + name + ": " + why);
}

/// The planes of an encoded tensor; heads of two dimensions share its rows.
std::shared_ptr<encoded_tensor> planes_of(const logical_tensor& t, const attention_side& it,
                                          std::span<const std::byte> bytes) {
  auto made = std::make_shared<encoded_tensor>(
    encoded_tensor::packed(*t.recipe, it.batch, it.heads, it.rows, it.head_size));
  if (it.shape.size() == 2 && it.heads > 1) {
    made->rows_count = it.rows;
    made->cols = it.heads * it.head_size;
    made->rows = {0, 0, 1};
    made->head_columns = it.head_size;
  }
  made->numbers = t.numbers;
  for (std::size_t p = 0; p < t.planes.size(); ++p)
    made->planes[p] = bytes.data() + t.planes[p];
  return made;
}

/// `heads`: of rows that hold several; `said`: by the user, 0 where not.
expected<void> cut_heads(const attention_spec& spec, std::size_t heads, std::size_t said,
                         attention_side& it) {
  const auto& shape = it.shape;
  if (shape.size() < 2 || shape.size() > 4)
    return wrong(spec, it.name, errc::bad_shape,
                 "has the shape " + spelled(shape)
                   + ", not (batch, heads, rows, head size) or fewer");
  it.head_size = shape.back();
  it.rows = shape[shape.size() - 2];
  if (shape.size() > 2) {
    it.heads = shape[shape.size() - 3];
    it.batch = shape.size() == 4 ? shape[0] : 1;
    if (said != 0 && said != it.heads)
      return wrong(spec, it.name, errc::bad_option,
                   "has " + std::to_string(it.heads) + " heads by its shape " + spelled(shape)
                     + ", not " + std::to_string(said)
                     + "; --heads and --kv-heads are for tensors of two dimensions");
    return {};
  }
  if (heads == 0 || it.head_size % heads != 0)
    return wrong(spec, it.name, errc::bad_option,
                 "has " + std::to_string(it.head_size)
                   + " columns; say by --heads (and --kv-heads) how many heads share them");
  it.heads = heads;
  it.head_size /= heads;
  return {};
}

expected<attention_side> side_of(const attention_spec& spec,
                                 const std::vector<logical_tensor>& tensors,
                                 std::span<const std::byte> bytes, const std::string& letter,
                                 std::size_t heads, std::size_t said) {
  auto found = std::ranges::find(tensors, letter, &logical_tensor::name);
  if (found == tensors.end())
    found = std::ranges::find(tensors, letter + ".weight", &logical_tensor::name);
  if (found == tensors.end())
    return wrong(spec, letter, errc::malformed,
                 "is missing; attention takes the tensors q, k and v, or q.weight and so on");
  attention_side it;
  it.name = found->name;
  it.dtype = found->dtype;
  it.shape = found->shape;
  const auto type = dtype_of(found->dtype);
  if (!found->recipe && !type)
    return wrong(spec, it.name, errc::unsupported, "is " + it.dtype + ", not F32, F16 or BF16");
  if (found->recipe && letter == "q")
    return wrong(spec, it.name, errc::unsupported,
                 "is encoded as " + found->recipe->name() + "; only k and v may be");
  const bool moved = std::ranges::any_of(found->transposed, [](auto t) { return t != 0; });
  if (moved || found->scales.rows || found->scales.columns)
    return wrong(spec, it.name, errc::unsupported,
                 "lies transposed or scaled in the layout " + found->layout
                   + "; run viva dequantize on the file, or encode it in another layout");
  if (auto cut = cut_heads(spec, heads, said, it); !cut)
    return tl::unexpected(cut.error());
  if (found->recipe) {
    it.encoded = planes_of(*found, it, bytes);
    it.lies.encoded = it.encoded.get();
    return it;
  }
  const auto width = it.head_size * kernels::bytes_of(*type);
  it.lies = {bytes.data() + found->begin, *type, strides::packed(it.heads, it.rows, width)};
  if (it.shape.size() == 2)
    it.lies.bytes = {0, width, it.heads * width};
  return it;
}

constexpr std::uint64_t look_values = 1 << 20; ///< Between looks at `interrupted`.

expected<void> check_plain(const attention_spec& spec, const attention_side& side,
                           const std::atomic<bool>* interrupted) {
  const std::uint64_t cols = side.shape.back();
  std::uint64_t values = 1;
  for (const auto n : side.shape)
    values *= n;
  for (std::uint64_t at = 0; at < values; at += look_values) {
    const auto count = std::min(look_values, values - at);
    const auto first = kernels::first_not_finite(
      side.lies.data + at * kernels::bytes_of(side.lies.type), side.lies.type, count);
    if (first != count)
      return wrong(spec, side.name, errc::not_finite,
                   "has NaN or infinity at [" + std::to_string((at + first) / cols) + ", "
                     + std::to_string((at + first) % cols)
                     + "], rows of all heads counted through; replace it, or say --on-nan keep to "
                       "have NaN in every row of out that meets it");
    if (interrupted != nullptr && *interrupted)
      return fail(errc::interrupted, formats::shown(spec.source) + ": interrupted");
  }
  return {};
}

expected<void> check_planes(const attention_spec& spec, const attention_side& side,
                            const std::atomic<bool>* interrupted) {
  const auto& from = *side.encoded;
  const auto shape = from.how.row->shape(from.how, from.cols);
  const auto grain = static_cast<std::size_t>(shape.rows_grain);
  const std::size_t run = std::max<std::size_t>(1, (1 << 16) / from.cols / grain) * grain;
  std::vector<float> values(run * from.cols);
  for (std::size_t row = 0; row < from.rows_count; row += run) {
    const auto rows = std::min(run, from.rows_count - row);
    std::array<const std::byte*, kernels::planes_max> in{};
    for (std::size_t p = 0; p < shape.planes_count; ++p)
      in[p] = from.planes[p] + shape.planes[p].offset(row, from.cols);
    const auto done = from.how.row->decode_simd(from.how, rows, from.cols, from.numbers,
                                                {in.data(), shape.planes_count}, values.data());
    if (!done)
      return wrong(spec, side.name, errc::malformed,
                   "has bytes in rows " + std::to_string(row) + " to " + std::to_string(row + rows)
                     + " that " + from.how.name() + " cannot have written; encode it again");
    if (interrupted != nullptr && *interrupted)
      return fail(errc::interrupted, formats::shown(spec.source) + ": interrupted");
  }
  return {};
}

} // namespace

expected<attention_sides> find_sides(const attention_spec& spec, const formats::checkpoint& source,
                                     std::span<const std::byte> bytes) {
  const auto tensors = formats::read_logical(source);
  if (!tensors)
    return tl::unexpected(tensors.error());
  const auto kv_heads = spec.kv_heads != 0 ? spec.kv_heads : spec.heads;
  auto q = side_of(spec, *tensors, bytes, "q", spec.heads, spec.heads);
  auto k = side_of(spec, *tensors, bytes, "k", kv_heads, spec.kv_heads);
  auto v = side_of(spec, *tensors, bytes, "v", kv_heads, spec.kv_heads);
  for (const auto* each : {&q, &k, &v})
    if (!*each)
      return tl::unexpected(each->error());
  if (k->shape != v->shape || q->batch != k->batch || q->head_size != k->head_size
      || q->shape.size() != k->shape.size())
    return fail(errc::bad_shape, formats::shown(spec.source) + ": q " + spelled(q->shape) + ", k "
                                   + spelled(k->shape) + " and v " + spelled(v->shape)
                                   + " do not fit together: batch, head size and k's and v's shape "
                                     "must be equal");
  return attention_sides{std::move(*q), std::move(*k), std::move(*v)};
}

expected<void> check_numbers(const attention_spec& spec, const attention_sides& sides,
                             const std::atomic<bool>* interrupted) {
  for (const auto* side : {&sides.q, &sides.k, &sides.v}) {
    expected<void> fine;
    if (side->encoded)
      fine = check_planes(spec, *side, interrupted);
    else if (spec.on_nan != nan_policy::keep)
      fine = check_plain(spec, *side, interrupted);
    if (!fine)
      return fine;
  }
  return {};
}

} // namespace viva::actors
