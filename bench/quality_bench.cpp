#include "bench/quality_bench.hpp"

#include "kernels/convert.hpp"
#include "kernels/registry.hpp"

#include <algorithm>
#include <array>
#include <random>
#include <vector>

namespace viva::bench {

namespace {

using kernels::dtype;
using kernels::matrix;

struct workload {
  std::string_view name;
  std::size_t rows, cols;
  unsigned draws;
  float (*value)(std::mt19937&);
};

float normal(std::mt19937& random, float deviation) {
  return std::normal_distribution<float>(0, deviation)(random);
}

constexpr workload workloads[] = {
    {"N(0,1) 1024x512", 1024, 512, 3, [](std::mt19937& r) { return normal(r, 1); }},
    {uniform_workload, 1024, 512, 1,
     [](std::mt19937& r) { return std::uniform_real_distribution<float>(0, 1)(r); }},
    {narrow_workload, 512, 512, 1, [](std::mt19937& r) { return normal(r, 0.3f); }},
};

/// Rows besides each method's default, and what they are stated to reach on N(0,1).
struct spelled_row {
  std::string_view text;
  double target_db;
};

constexpr spelled_row spelled[] = {{"int4:absmax", 18.59},
                                   {"int4:search", 19.91},
                                   {"int4:asym", 19.95},
                                   {"int4:asym:search", 20.44},
                                   {"awq:rtn", 19.95}};

/// The report counts what 2:4 keeps as 16 bits, all else is of f32.
dtype source_of(std::string_view method) {
  return method.starts_with("sparse24") ? dtype::f16 : dtype::f32;
}

/// What the report printed for a method on its own workloads.
struct printed_claim {
  std::string_view method, workload, text;
};

constexpr printed_claim claims[] = {
    {"int8-tensor", narrow_workload, "19.98 dB (its logarithm ends at 19.977)"},
    {"nf4", narrow_workload, "19.98 dB (its logarithm ends at 19.977)"},
    {"awq", narrow_workload, "13.72 dB"},
    {"nf4-dq", uniform_workload, "3.9 % (never decoded)"},
    {"q4_0", uniform_workload, "8.0x, 1.5 % (typed in)"},
    {"nvfp4", uniform_workload, "4.0x, 1.29 % (asymmetric uint4, 8 bits)"},
    {"awq", uniform_workload, "7.7x, 3.6 % (no search)"},
};

std::string_view claim_of(std::string_view method, std::string_view place) {
  for (const auto& claim : claims)
    if (claim.method == method && claim.workload == place)
      return claim.text;
  return {};
}

/// Encodes one draw and measures it.
expected<kernels::metrics> measure_draw(const kernels::recipe& with, const workload& place,
                                        unsigned draw) {
  std::mt19937 random(draw + 1);
  std::vector<float> values(place.rows * place.cols);
  for (auto& x : values)
    x = place.value(random);
  std::vector<std::byte> source(values.size() * kernels::bytes_of(with.source));
  kernels::store_f32(values.data(), with.source, values.size(), source.data());
  const matrix in{source.data(), with.source, place.rows, place.cols};
  kernels::tensor_numbers numbers;
  if (with.row->survey_run != nullptr) {
    kernels::survey found;
    if (const auto done = with.row->survey_run(with, in, found); !done)
      return fail(done.code, with.name() + " refuses " + std::string(place.name));
    numbers = with.row->survey_finish(with, found);
  }
  const auto shape = with.row->shape(with, place.cols);
  std::vector<std::vector<std::byte>> planes;
  std::array<std::byte*, kernels::planes_max> out{};
  std::array<const std::byte*, kernels::planes_max> made{};
  for (const auto& plane : shape.all()) {
    planes.emplace_back(plane.bytes(0, place.rows, place.cols));
    made[planes.size() - 1] = out[planes.size() - 1] = planes.back().data();
  }
  if (const auto done = with.row->encode_simd(with, in, numbers, {out.data(), planes.size()});
      !done)
    return fail(done.code, with.name() + " refuses " + std::string(place.name));
  const auto done = with.row->decode_simd(with, place.rows, place.cols, numbers,
                                          {made.data(), planes.size()}, values.data());
  if (!done)
    return fail(done.code, with.name() + " refuses its own " + std::string(place.name));
  return kernels::compute_all(in, values.data());
}

expected<quality_line> line_of(const kernels::recipe& with, const workload& place) {
  quality_line line;
  line.workload = place.name;
  line.method = with.name();
  line.bits = kernels::bits_per_weight(with, place.rows, place.cols);
  line.claim = claim_of(line.method, place.name);
  const double share = 1.0 / place.draws;
  for (unsigned draw = 0; draw < place.draws; ++draw) {
    const auto found = measure_draw(with, place, draw);
    if (!found)
      return tl::make_unexpected(found.error());
    line.rel_rms += share * found->rel_rms;
    line.snr_db += share * found->snr_db;
    line.cosine += share * found->cosine;
    line.mae += share * found->mae;
  }
  if (&place == &workloads[0]) {
    const auto* option = std::ranges::find(spelled, line.method, &spelled_row::text);
    if (line.method == with.row->name)
      line.target_db = with.row->sqnr_db_normal;
    else if (option != std::end(spelled))
      line.target_db = option->target_db;
    line.theory_db = with.row->sqnr_db_theory(with, place.rows, place.cols);
  }
  return line;
}

} // namespace

expected<void> run_quality_bench(const std::string& method,
                                 const std::function<void(const quality_line&)>& each) {
  std::vector<kernels::recipe> recipes;
  if (!method.empty()) {
    const auto one = kernels::parse_recipe(method, source_of(method));
    if (!one)
      return tl::make_unexpected(one.error());
    recipes.push_back(*one);
  } else {
    for (const auto& row : kernels::methods())
      recipes.push_back(kernels::parse_recipe(row.name, source_of(row.name)).value());
    for (const auto& [text, target] : spelled)
      recipes.push_back(kernels::parse_recipe(text, source_of(text)).value());
  }
  for (const auto& place : workloads)
    for (const auto& with : recipes) {
      const auto line = line_of(with, place);
      if (!line)
        return tl::make_unexpected(line.error());
      each(*line);
    }
  return {};
}

} // namespace viva::bench
