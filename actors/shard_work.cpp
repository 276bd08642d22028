#include "actors/shard_work.hpp"

#include "actors/scaled_rows.hpp"
#include "actors/shard_ranges.hpp"
#include "actors/strips.hpp"
#include "actors/survey_bytes.hpp"
#include "formats/shown.hpp"
#include "kernels/awq_search.hpp"
#include "kernels/bytes.hpp"
#include "kernels/convert.hpp"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <numeric>

namespace viva::actors {
namespace {

using kernels::geometry;
using kernels::matrix;
using kernels::tensor_numbers;

constexpr std::size_t copy_bytes = 1 << 20;

/// xxh3-64 over several planes at once: one running hash each, folded in plane order.
class plane_hashes {
public:
  explicit plane_hashes(std::size_t planes) {
    for (std::size_t i = 0; i < planes; ++i) {
      x_states.emplace_back(XXH3_createState(), XXH3_freeState);
      XXH3_64bits_reset(x_states.back().get());
    }
  }
  void add(std::size_t plane, std::span<const std::byte> bytes) {
    XXH3_64bits_update(x_states[plane].get(), bytes.data(), bytes.size());
  }
  std::uint64_t digest() const {
    std::uint64_t all = 0;
    for (const auto& state : x_states) {
      const std::uint64_t pair[2] = {all, XXH3_64bits_digest(state.get())};
      all = XXH3_64bits(pair, sizeof pair);
    }
    return all;
  }

private:
  std::vector<std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)>> x_states;
};

geometry shape_of(const kernels::recipe& r, std::uint64_t cols) {
  return r.row->shape(r, cols);
}

std::uint64_t grain_of(const stored& side, std::uint64_t cols) {
  return side.recipe ? shape_of(*side.recipe, cols).rows_grain : 1;
}

// Rows a lane works on at a time. Without a tighter budget 1 MiB of f32: a run and its encoded
// bytes stay in the second-level cache, and one write call still moves more than a hundred KiB.
std::uint64_t run_rows(std::uint64_t values, std::uint64_t cols, std::uint64_t grain) {
  return std::max(grain, values / std::max<std::uint64_t>(cols, 1) / grain * grain);
}

matrix plain_rows(const workplace& place, const stored& side, std::uint64_t first,
                  std::uint64_t count, std::uint64_t cols) {
  const matrix whole{place.source(side.file).data() + side.begin, side.type, first + count, cols};
  return whole.slice(first, count);
}

/// Rows of either kind as f32, as they lie there; `out` shape (count, cols).
expected<void> read_stored(const workplace& place, const work_tensor& t, const stored& side,
                           std::uint64_t first, std::uint64_t count, float* out, engine& on) {
  if (!side.recipe) {
    const auto rows = plain_rows(place, side, first, count, t.cols);
    kernels::load_f32(rows.data, rows.type, rows.values(), out);
    return {};
  }
  const auto planes = shape_of(*side.recipe, t.cols);
  thread_local std::array<std::vector<std::byte>, kernels::planes_max> turned;
  std::array<const std::byte*, kernels::planes_max> in{};
  for (std::size_t i = 0; i < planes.planes_count; ++i) {
    const auto element = element_of(side.transposed, i);
    const auto from = strips_of(planes.planes[i], element, {first, count, t.rows, t.cols});
    const auto* plane = place.source(side.file).data() + side.planes[i];
    in[i] = plane + from.offset;
    if (element == 0)
      continue;
    turned[i].resize(from.total());
    gather(planes.planes[i], element, from, plane, turned[i]);
    in[i] = turned[i].data();
  }
  const auto done = on.decode(*side.recipe, count, t.cols, side.numbers,
                              {in.data(), planes.planes_count}, out);
  if (!done)
    return fail(done.code, formats::shown(t.name) + ": rows " + std::to_string(first) + " to "
                             + std::to_string(first + count) + " are no "
                             + side.recipe->name() + " data");
  return {};
}

/// The same with scales undone.
expected<void> read_rows(const workplace& place, const work_tensor& t, const stored& side,
                         std::uint64_t first, std::uint64_t count, float* out,
                         engine& on = processor()) {
  if (auto read = read_stored(place, t, side, first, count, out, on); !read)
    return read;
  const auto& by = side.scales;
  if (side.recipe)
    unscale_run({first, count, t.cols, by.columns.get(), by.rows.get()}, out);
  else if (by.rows) // a vector, one value a row
    for (std::uint64_t i = 0; i < count; ++i)
      out[i] = kernels::rounded_to(unfolded(out[i], (*by.rows)[first + i], by.plus), side.type);
  return {};
}

expected<shard_result> scan(const plan& p, const workplace& place, const shard& s) {
  const auto& t = p.tensors[s.tensor];
  const auto rows = plain_rows(place, t.source, s.first, s.count, t.cols);
  const auto at = kernels::first_not_finite(rows.data, rows.type, rows.values());
  shard_result result;
  if (at < rows.values())
    result.findings = std::to_string(s.first * t.cols + at);
  return result;
}

expected<shard_result> survey(const plan& p, const workplace& place, const shard& s, engine& on) {
  const auto& t = p.tensors[s.tensor];
  const auto rows = plain_rows(place, t.source, s.first, s.count, t.cols);
  kernels::survey seen;
  const auto done = on.survey(*t.target, rows, seen);
  if (!done)
    return fail(done.code, name_not_finite(p, s.tensor, s.first * t.cols + done.position));
  return shard_result{.checksum = 0, .findings = encode_survey(seen)};
}

expected<shard_result> shares(const plan& p, const workplace& place, const shard& s) {
  const auto& t = p.tensors[s.tensor];
  std::vector<std::uint64_t> sums(t.cols);
  const auto done = kernels::awq::add_shares(
      *t.target, plain_rows(place, t.source, s.first, s.count, t.cols), sums.data());
  if (!done)
    return fail(done.code, name_not_finite(p, s.tensor, s.first * t.cols + done.position));
  shard_result result;
  for (const auto sum : sums)
    kernels::put_varint(result.findings, sum);
  return result;
}

expected<shard_result> losses(const plan& p, const workplace& place, const shard& s,
                              const searched& by) {
  const auto& t = p.tensors[s.tensor];
  const auto& inputs = *p.scalings[t.columns_by].inputs;
  const kernels::awq::scale_table table{
      t.cols, *by.columns, kernels::awq::scaled_weights(inputs.mean_square, *by.columns)};
  kernels::awq::loss_sums sums;
  const auto done = kernels::awq::add_losses(
      *t.target, plain_rows(place, t.source, s.first, s.count, t.cols), table, sums);
  if (!done)
    return fail(done.code, name_not_finite(p, s.tensor, s.first * t.cols + done.position));
  return shard_result{.checksum = 0, .findings = sums.encode()};
}

/// What feeds scaled weights, divided: the whole of a vector in one shard.
expected<shard_result> fold(const plan& p, const workplace& place, const shard& s,
                            const searched& by) {
  const auto& t = p.tensors[s.tensor];
  const auto& of = p.scalings[t.rows_by];
  const auto plus = s.tensor == of.divided ? of.plus : 0.0f;
  std::vector<float> values(s.count / kernels::bytes_of(t.source.type));
  std::vector<std::byte> bytes(s.count);
  kernels::load_f32(place.source(t.source.file).data() + t.source.begin, t.source.type,
                    values.size(), values.data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float made = kernels::rounded_to(folded(values[i], (*by.rows)[i], plus), t.source.type);
    if (kernels::is_finite(values[i]) && !kernels::is_finite(made))
      return fail(errc::unsupported,
                  formats::shown(t.name) + ": divided by the scales of what it feeds, the value at "
                    + std::to_string(i) + " is beyond " + t.dtype
                    + "; say -m awq:no-scale to clip only");
    values[i] = made;
  }
  kernels::store_f32(values.data(), t.source.type, values.size(), bytes.data());
  plane_hashes hashes(1);
  hashes.add(0, bytes);
  if (auto written = place.write(t.out[0], bytes); !written)
    return tl::unexpected(written.error());
  return shard_result{.checksum = hashes.digest(), .findings = {}};
}

expected<shard_result> encode(const plan& p, const workplace& place, const shard& s,
                              const tensor_numbers& numbers, const searched& by, engine& on) {
  const auto& t = p.tensors[s.tensor];
  const auto planes = shape_of(*t.target, t.cols);
  const bool scaled = by.columns || by.rows;
  const auto values = scaled ? p.run_values_max : on.run_values(p.run_values_max);
  // A transposed plane takes the whole shard at once: the longer its strips, the fewer the writes.
  const auto step = t.transposed.empty() ? run_rows(values, t.cols, planes.rows_grain) : s.count;
  thread_local std::array<std::vector<std::byte>, kernels::planes_max> scratch;
  thread_local std::vector<std::byte> turned;
  plane_hashes hashes(planes.planes_count);
  kernels::error_sums sums;
  for (auto first = s.first; first < s.first + s.count; first += step) {
    const auto count = std::min(step, s.first + s.count - first);
    std::array<std::byte*, kernels::planes_max> out{};
    for (std::size_t i = 0; i < planes.planes_count; ++i) {
      scratch[i].resize(planes.planes[i].bytes(first, count, t.cols));
      out[i] = scratch[i].data();
    }
    const auto rows = plain_rows(place, t.source, first, count, t.cols);
    const std::span filled(out.data(), planes.planes_count);
    const auto done = scaled ? encode_scaled(*t.target, rows, first, by, filled, sums)
                             : on.encode(*t.target, rows, numbers, filled, sums);
    if (!done)
      return fail(done.code, name_not_finite(p, s.tensor, first * t.cols + done.position));
    for (std::size_t i = 0; i < planes.planes_count; ++i) {
      const auto& plane = planes.planes[i];
      const auto element = element_of(t.transposed, i);
      std::span<const std::byte> bytes = scratch[i];
      if (element != 0) {
        turned.resize(bytes.size());
        turn_for_file(plane, element, bytes, turned);
        bytes = turned;
      }
      if (plane.unit != kernels::plane::unit_kind::tensor || first == s.first)
        hashes.add(i, bytes); // a unit of the whole tensor lies there once
      const auto to = strips_of(plane, element, {first, count, t.rows, t.cols});
      if (auto written = scatter(place, t.out[i], to, bytes); !written)
        return tl::unexpected(written.error());
    }
  }
  return shard_result{.checksum = hashes.digest(), .findings = sums.encode()};
}

expected<shard_result> decode(const plan& p, const workplace& place, const shard& s, engine& on) {
  const auto& t = p.tensors[s.tensor];
  const auto width = kernels::bytes_of(*t.decoded);
  const auto step = run_rows(on.run_values(p.run_values_max), t.cols, grain_of(t.source, t.cols));
  thread_local std::vector<float> values;
  thread_local std::vector<std::byte> bytes;
  plane_hashes hashes(1);
  for (auto first = s.first; first < s.first + s.count; first += step) {
    const auto count = std::min(step, s.first + s.count - first);
    values.resize(count * t.cols);
    bytes.resize(values.size() * width);
    if (auto read = read_rows(place, t, t.source, first, count, values.data(), on); !read)
      return tl::unexpected(read.error());
    kernels::store_f32(values.data(), *t.decoded, values.size(), bytes.data());
    hashes.add(0, bytes);
    const placement where{t.out[0].file, t.out[0].offset + first * t.cols * width};
    if (auto written = place.write(where, bytes); !written)
      return tl::unexpected(written.error());
  }
  return shard_result{.checksum = hashes.digest(), .findings = {}};
}

expected<shard_result> copy(const plan& p, const workplace& place, const shard& s) {
  const auto& t = p.tensors[s.tensor];
  const auto bytes = place.source(t.source.file).subspan(t.source.begin + s.first, s.count);
  plane_hashes hashes(1);
  for (std::size_t at = 0; at < bytes.size(); at += copy_bytes) {
    const auto piece = bytes.subspan(at, std::min(copy_bytes, bytes.size() - at));
    hashes.add(0, piece);
    const placement where{t.out[0].file, t.out[0].offset + s.first + at};
    if (auto written = place.write(where, piece); !written)
      return tl::unexpected(written.error());
  }
  return shard_result{.checksum = hashes.digest(), .findings = {}};
}

// Values a comparison works on at a time: both sides as f32 lie in the second-level cache, where
// they are measured.
constexpr std::uint64_t measured_values = std::uint64_t{32} << 10;

/// Rows of either kind to be measured: plain ones where and as they are, others as f32 in `values`.
expected<matrix> rows_to_measure(const workplace& place, const work_tensor& t, const stored& side,
                                 std::uint64_t first, std::uint64_t count,
                                 std::vector<float>& values) {
  if (!side.recipe && !side.scales.rows)
    return plain_rows(place, side, first, count, t.cols);
  values.resize(count * t.cols);
  if (auto read = read_rows(place, t, side, first, count, values.data()); !read)
    return tl::unexpected(read.error());
  return matrix{reinterpret_cast<const std::byte*>(values.data()), kernels::dtype::f32, count,
                t.cols};
}

expected<shard_result> measure(const plan& p, const workplace& place, const shard& s) {
  const auto& t = p.tensors[s.tensor];
  const auto grain = std::lcm(grain_of(t.source, t.cols), grain_of(*t.other, t.cols));
  const auto rows = measured_values / std::max<std::uint64_t>(t.cols, 1) / grain * grain;
  const auto step = std::clamp(rows, grain, run_rows(p.run_values_max, t.cols, grain));
  thread_local std::vector<float> a, b;
  kernels::error_sums sums;
  for (auto first = s.first; first < s.first + s.count; first += step) {
    const auto count = std::min(step, s.first + s.count - first);
    const auto x = rows_to_measure(place, t, t.source, first, count, a);
    if (!x)
      return tl::unexpected(x.error());
    b.resize(count * t.cols);
    if (auto read = read_rows(place, t, *t.other, first, count, b.data()); !read)
      return tl::unexpected(read.error());
    kernels::measure_simd(*x, b.data(), sums);
  }
  return shard_result{.checksum = 0, .findings = sums.encode()};
}

expected<shard_result> run_task(const plan& p, const workplace& place, const shard& s,
                                const tensor_numbers& numbers, const searched& by, engine& on) {
  switch (s.what) {
    case task::scan: return scan(p, place, s);
    case task::survey: return survey(p, place, s, on);
    case task::shares: return shares(p, place, s);
    case task::losses: return losses(p, place, s, by);
    case task::encode: return encode(p, place, s, numbers, by, on);
    case task::fold: return fold(p, place, s, by);
    case task::decode: return decode(p, place, s, on);
    case task::copy: return copy(p, place, s);
    case task::measure: return measure(p, place, s);
  }
  return fail(errc::unsupported, "a shard asks for an unknown task");
}

} // namespace

expected<shard_result> run_shard(const plan& p, const workplace& place, const shard& s,
                                 const tensor_numbers& numbers, const searched& by, engine& on) {
  auto result = run_task(p, place, s, numbers, by, on);
  const auto& t = p.tensors[s.tensor];
  for (const auto* side : {&t.source, t.other ? &*t.other : &t.source})
    if (auto whole = place.check_read(side->file); !whole)
      return tl::unexpected(whole.error());
  return result;
}

expected<std::uint64_t> output_checksum(const plan& p, const workplace& place, const shard& s) {
  const auto planes = output_strips(p.tensors[s.tensor], s);
  if (planes.empty())
    return 0;
  plane_hashes hashes(planes.size());
  std::vector<std::byte> bytes(copy_bytes);
  for (std::size_t i = 0; i < planes.size(); ++i) {
    const auto& [where, from] = planes[i];
    for (std::uint64_t at = 0; at < from.total(); at += copy_bytes) {
      const std::span piece{bytes.data(), std::min<std::size_t>(copy_bytes, from.total() - at)};
      if (auto read = read_strips(place, where, from, at, piece); !read)
        return tl::unexpected(read.error());
      hashes.add(i, piece);
    }
  }
  return hashes.digest();
}

std::string name_not_finite(const plan& p, std::uint32_t tensor, std::uint64_t position) {
  const auto& t = p.tensors[tensor];
  const auto row = position / t.cols, col = position % t.cols;
  return formats::shown(p.sources[t.source.file].filename()) + ": tensor " + formats::shown(t.name)
         + " has NaN or infinity at [" + std::to_string(row) + ", " + std::to_string(col) + "]";
}

} // namespace viva::actors
