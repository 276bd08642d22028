#pragma once

// Whole jobs on checkpoints made on the spot: what the tests of actors/ share.

#include "actors/job.hpp"
#include "actors/output_claim.hpp"
#include "actors/workplace.hpp"
#include "formats/checkpoint.hpp"
#include "formats/synth.hpp"
#include "kernels/registry.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/temporary_folder.hpp"

#include <fstream>
#include <map>
#include <sstream>

namespace viva::tests {

namespace fs = std::filesystem;

inline std::string text_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream all;
  all << in.rdbuf();
  return std::move(all).str();
}

/// Every file of a folder, by name; or the one file.
inline std::map<std::string, std::string> bytes_of(const fs::path& output) {
  std::map<std::string, std::string> all;
  if (fs::is_regular_file(output))
    return {{"", text_of(output)}};
  for (const auto& entry : fs::directory_iterator(output))
    all[entry.path().filename().string()] = text_of(entry.path());
  return all;
}

inline fs::path synthesized(const temporary_folder& folder, std::uint32_t files = 1,
                            kernels::dtype type = kernels::dtype::bf16) {
  formats::synth_options options;
  options.output = folder / "source";
  options.bytes = 6 << 20;
  options.dtype = type;
  options.shards = files;
  options.outliers = true;
  options.seed = 7;
  const auto made = formats::synthesize(options, {});
  REQUIRE(made);
  return options.output;
}

inline quantize_spec spec_for(const fs::path& source, const fs::path& output,
                              const std::string& method) {
  quantize_spec spec;
  spec.source = source;
  spec.output = output;
  // 128 does not divide the synthetic model's columns, and there are no statistics of it.
  spec.method = method == "awq" ? "awq:group=64:rtn" : method;
  if (method == "fp8-block") // nor does it here, and engines want whole blocks
    spec.exclude = {"down_proj"};
  spec.limits.lanes = 2;
  spec.limits.shard_bytes_max = 256 << 10;
  return spec;
}

inline job_report must(expected<job_report> report) {
  if (!report)
    FAIL(report.error().text);
  return std::move(*report);
}

/// The first quantized tensor's file and its first value's offset, to plant something in.
inline std::pair<fs::path, std::uint64_t> a_weight(const fs::path& source,
                                                   const std::string& name) {
  const auto c = formats::open_checkpoint(source);
  REQUIRE(c);
  for (const auto& file : c->files)
    for (const auto& t : file.header.tensors)
      if (t.name == name)
        return {file.path, t.begin};
  FAIL("no tensor " + name);
  return {};
}

inline void plant(const fs::path& file, std::uint64_t at, const std::string& bytes) {
  std::fstream out(file, std::ios::in | std::ios::out | std::ios::binary);
  out.seekp(static_cast<std::streamoff>(at));
  out << bytes;
}

constexpr auto q_proj = "model.layers.0.self_attn.q_proj.weight";
constexpr auto k_proj = "model.layers.0.self_attn.k_proj.weight";

constexpr auto o_proj = "model.layers.0.self_attn.o_proj.weight";

/// The words of a method that the small model's widths divide by.
inline std::string words_of(const kernels::method& method) {
  const bool grouped = method.options.starts_with("group=");
  const bool stacked = grouped && method.name.starts_with("sparse24");
  return std::string(method.name) + (!grouped ? "" : stacked ? ":group=32" : ":group=64");
}

/// A job stopped after its first shards, on `spec.output`.
inline void stop_early(quantize_spec spec) {
  spec.faults.interrupt_after = 5;
  spec.limits.shard_bytes_max = 64 << 10;
  spec.limits.lanes = 1;
  const auto stopped = run_quantize(spec);
  REQUIRE_FALSE(stopped);
  REQUIRE(stopped.error().code == errc::interrupted);
}

} // namespace viva::tests
