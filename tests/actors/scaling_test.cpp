// awq with statistics: columns are scaled, what feeds them is divided, and the model as a whole
// computes what it did, whatever died on the way.

#include "actors/plan.hpp"
#include "formats/note.hpp"
#include "kernels/convert.hpp"
#include "tests/actors/jobs.hpp"
#include "tests/actors/statistics_made.hpp"

#include <algorithm>
#include <cmath>

using namespace viva;
using namespace viva::tests;

namespace {

constexpr auto norm = "model.layers.0.input_layernorm.weight";
constexpr auto v_proj = "model.layers.0.self_attn.v_proj.weight";

quantize_spec scaled_spec(const fs::path& source, const fs::path& output, const fs::path& stats,
                          const std::string& options = "") {
  auto spec = spec_for(source, output, "awq:group=64" + options);
  spec.stats = stats;
  return spec;
}

/// Every floating-point tensor of a checkpoint in f32, by name.
using values_by_name = std::map<std::string, std::vector<float>>;

values_by_name values_of(const fs::path& checkpoint) {
  values_by_name all;
  const auto c = formats::open_checkpoint(checkpoint).value();
  for (const auto& file : c.files) {
    const auto bytes = text_of(file.path);
    for (const auto& t : file.header.tensors) {
      const auto type = actors::dtype_of(t.dtype).value();
      auto& values = all[t.name];
      values.resize(t.bytes() / kernels::bytes_of(type));
      kernels::load_f32(reinterpret_cast<const std::byte*>(bytes.data()) + t.begin, type,
                        values.size(), values.data());
    }
  }
  return all;
}

values_by_name dequantized(const fs::path& checkpoint, const fs::path& output,
                           const std::string& dtype = "f32") {
  dequantize_spec spec;
  spec.source = checkpoint;
  spec.output = output;
  spec.dtype = dtype;
  must(run_dequantize(spec));
  return values_of(output);
}

/// The same output as an engine reads it, which knows nothing of our note.
fs::path without_note(const fs::path& output, const fs::path& to) {
  fs::copy(output, to);
  for (const auto& entry : fs::directory_iterator(to)) {
    if (entry.path().extension() != ".safetensors")
      continue;
    auto bytes = text_of(entry.path());
    for (const auto* key : {formats::note_key, formats::scales_key}) {
      const auto at = bytes.find('"' + std::string(key) + "\":\"");
      REQUIRE(at != std::string::npos);
      bytes[at + 1] = 'V'; // "Viva…": nobody's
    }
    std::ofstream(entry.path(), std::ios::binary) << bytes;
  }
  return to;
}

/// Σ E[x²] (w' - w)² / Σ E[x²] w² in percent, its root, the mean over all weights.
double output_error(const values_by_name& was, const values_by_name& now,
                    const made_statistics& inputs) {
  double total = 0;
  for (const auto& [module, square] : inputs.mean_square) {
    const auto &x = was.at(module + ".weight"), &y = now.at(module + ".weight");
    double error = 0, power = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double weight = square[i % square.size()], e = y[i] - x[i];
      error += weight * e * e;
      power += weight * x[i] * x[i];
    }
    total += 100 * std::sqrt(error / power);
  }
  return total / static_cast<double>(inputs.mean_square.size());
}

const tensor_report& report_on(const job_report& report, const std::string& name) {
  const auto found = std::ranges::find(report.tensors, name, &tensor_report::name);
  REQUIRE(found != report.tensors.end());
  return *found;
}

} // namespace

TEST_CASE("awq with statistics: what engines read computes what the scaled back model computes") {
  const temporary_folder folder;
  const auto source = synthesized(folder, 3);
  const auto stats = make_statistics(source, folder / "stats.safetensors");
  const auto report = must(run_quantize(scaled_spec(source, folder / "out", stats.file)));
  CHECK(report_on(report, norm).method == "fold");
  CHECK(report_on(report, norm).note.find("divided") != std::string::npos);
  CHECK(report_on(report, q_proj).note.empty());

  const auto was = values_of(source);
  const auto plain = dequantized(folder / "out", folder / "plain");
  const auto read = dequantized(without_note(folder / "out", folder / "bare"), folder / "read");
  CHECK(plain.at(norm) == was.at(norm)); // rounding of the divided norm went into the scales
  CHECK(read.at(norm) != was.at(norm));

  // What reaches the q rows through the norm, and the o rows through the v rows.
  const auto cols = was.at(norm).size();
  double worst = 0;
  for (std::size_t i = 0; i < was.at(q_proj).size(); ++i) {
    const double engine = static_cast<double>(read.at(q_proj)[i]) * read.at(norm)[i % cols];
    const double ours = static_cast<double>(plain.at(q_proj)[i]) * was.at(norm)[i % cols];
    worst = std::max(worst, std::fabs(engine - ours) / (std::fabs(ours) + 1e-6));
  }
  CHECK(worst < 1e-5);
  worst = 0;
  bool rows_scaled = false;
  for (std::size_t h = 0; h < cols; ++h) // one column of v and the row of o it meets
    for (const std::size_t k : {std::size_t{0}, cols / 2}) {
      const double engine = static_cast<double>(read.at(v_proj)[h * cols + k])
                            * read.at(norm)[k] * read.at(o_proj)[k * cols + h];
      const double ours = static_cast<double>(plain.at(v_proj)[h * cols + k]) * was.at(norm)[k]
                          * plain.at(o_proj)[k * cols + h];
      worst = std::max(worst, std::fabs(engine - ours) / (std::fabs(ours) + 1e-9));
      rows_scaled = rows_scaled || read.at(o_proj)[k * cols + h] != plain.at(o_proj)[k * cols + h];
    }
  CHECK(worst < 1e-5);
  CHECK(rows_scaled);
}

TEST_CASE("awq with statistics: scaled and clipped beats clipped beats rounded, on outputs") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  const auto stats = make_statistics(source, folder / "stats.safetensors");
  const auto was = values_of(source);
  std::map<std::string, double> error;
  for (const std::string options : {"", ":no-scale", ":no-clip", ":rtn"}) {
    const auto name = "out" + std::to_string(error.size());
    auto spec = scaled_spec(source, folder / name, stats.file, options);
    if (options == ":rtn")
      spec.stats.clear(); // it does not look at them
    must(run_quantize(spec));
    error[options] =
        output_error(was, dequantized(folder / name, folder / (name + "-plain")), stats);
  }
  CAPTURE(error[""], error[":no-scale"], error[":no-clip"], error[":rtn"]);
  CHECK(error[""] < 0.8 * error[":no-scale"]);
  CHECK(error[""] < error[":no-clip"]);
  CHECK(error[":no-clip"] < 0.9 * error[":rtn"]);
  CHECK(error[":no-scale"] < error[":rtn"]);
}

TEST_CASE("awq with statistics: compare finds the errors that the job reported") {
  const temporary_folder folder;
  const auto source = synthesized(folder, 2, kernels::dtype::f16);
  const auto stats = make_statistics(source, folder / "stats.safetensors");
  const auto report = must(run_quantize(scaled_spec(source, folder / "out", stats.file)));
  const auto compared = must(run_compare({source, folder / "out", {}}));
  for (const auto& said : report.tensors) {
    CAPTURE(said.name);
    const auto& found = report_on(compared, said.name);
    REQUIRE(found.errors);
    CHECK(found.errors->mse == (said.errors ? said.errors->mse : 0.0)); // norms are back to the bit
    CHECK(found.errors->max_error == (said.errors ? said.errors->max_error : 0.0));
  }
}

TEST_CASE("awq with statistics: the same bytes for any lanes, shards, deaths and resumptions") {
  const temporary_folder folder;
  const auto source = synthesized(folder, 2);
  const auto stats = make_statistics(source, folder / "stats.safetensors");
  auto spec = scaled_spec(source, folder / "whole", stats.file);
  spec.limits.lanes = 1;
  spec.limits.shard_bytes_max = 8 << 20;
  must(run_quantize(spec));
  const auto whole = bytes_of(spec.output);

  spec.output = folder / "pieces";
  spec.limits.lanes = 2;
  spec.limits.shard_bytes_max = 32 << 10;
  must(run_quantize(spec));
  CHECK(bytes_of(spec.output) == whole);

  spec.output = folder / "faults";
  spec.faults.throw_every = 3;
  spec.limits.attempts_max = 50;
  CHECK(must(run_quantize(spec)).restarts > 0);
  CHECK(bytes_of(spec.output) == whole);

  spec.output = folder / "resumed";
  spec.faults = {};
  for (const std::uint32_t after : {7u, 60u, 100u}) { // in the searches, and after some
    spec.faults.interrupt_after = after;
    const auto stopped = run_quantize(spec);
    REQUIRE_FALSE(stopped);
    CHECK(stopped.error().code == errc::interrupted);
  }
  spec.faults = {};
  CHECK(must(run_quantize(spec)).shards_resumed >= 160);
  CHECK(bytes_of(spec.output) == whole);
}

TEST_CASE("awq with statistics: what cannot be folded is only clipped, and the report says so") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  const auto stats = make_statistics(source, folder / "stats.safetensors");
  const auto config = text_of(source / "config.json");
  const auto as_model = [&](const std::string& type) {
    auto text = config;
    text.replace(text.find("\"llama\""), 7, "\"" + type + "\"");
    std::ofstream(source / "config.json") << text;
  };
  as_model("cohere"); // attention and MLP share one norm
  const auto clipped = must(run_quantize(scaled_spec(source, folder / "clipped", stats.file)));
  const auto plain =
      must(run_quantize(scaled_spec(source, folder / "plain", stats.file, ":no-scale")));
  CHECK(report_on(clipped, q_proj).note.starts_with("clipped only: "));
  CHECK(report_on(clipped, norm).method == "copy");
  CHECK(report_on(clipped, q_proj).errors->mse == report_on(plain, q_proj).errors->mse);
  CHECK(report_on(plain, q_proj).note.empty());

  as_model("llama");
  auto spec = scaled_spec(source, folder / "part", stats.file);
  spec.exclude = {"mlp"};
  const auto part = must(run_quantize(spec));
  CHECK(report_on(part, q_proj).note.empty());
  CHECK(report_on(part, "model.layers.0.post_attention_layernorm.weight").method == "copy");

  as_model("gemma"); // whose norms multiply by 1 + weight
  must(run_quantize(scaled_spec(source, folder / "gemma", stats.file)));
  const auto was = values_of(source), back = dequantized(folder / "gemma", folder / "gemma-plain");
  const auto read = dequantized(without_note(folder / "gemma", folder / "bare"), folder / "read");
  const auto cols = was.at(norm).size();
  for (std::size_t k = 0; k < cols; ++k) {
    const double engine = static_cast<double>(read.at(q_proj)[k]) * (1.0 + read.at(norm)[k]);
    const double ours = static_cast<double>(back.at(q_proj)[k]) * (1.0 + was.at(norm)[k]);
    CHECK(std::fabs(engine - ours) <= 1e-5 * std::fabs(ours) + 1e-9);
    CHECK(back.at(norm)[k] == was.at(norm)[k]);
  }
}

TEST_CASE("awq with statistics: other statistics resume nothing; a torn note is refused") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  const auto stats = make_statistics(source, folder / "stats.safetensors");
  const auto others = make_statistics(source, folder / "others.safetensors", 2);
  auto spec = scaled_spec(source, folder / "out", stats.file);
  stop_early(spec);
  spec.limits.shard_bytes_max = 64 << 10;
  spec.stats = others.file;
  const auto refused = run_quantize(spec);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::fingerprint_mismatch);
  spec.stats = stats.file;
  must(run_quantize(spec));

  const auto file = spec.output / "model.safetensors";
  const auto bytes = text_of(file);
  plant(file, formats::scales_place(bytes), "x");
  dequantize_spec back;
  back.source = spec.output;
  back.output = folder / "plain";
  const auto torn = run_dequantize(back);
  REQUIRE_FALSE(torn);
  CHECK(torn.error().code == errc::malformed);
  plant(file, formats::scales_place(bytes), "bf800000"); // -1
  CHECK(run_dequantize(back).error().code == errc::malformed);
}
