#pragma once

// Statistics of inputs made up for the tests: lognormal over channels, a few of them far larger,
// the same for weights that share an input.

#include "formats/fused.hpp"
#include "formats/layout.hpp"
#include "formats/module_names.hpp"
#include "formats/safetensors.hpp"
#include "tests/actors/jobs.hpp"

#include <cmath>
#include <random>

namespace viva::tests {

struct made_statistics {
  fs::path file;
  std::map<std::string, std::vector<float>> mean_square; ///< By module.
};

inline std::vector<float> channels_of(const std::string& input, std::uint64_t cols,
                                      std::uint32_t seed) {
  std::mt19937 random(static_cast<std::uint32_t>(std::hash<std::string>{}(input)) + seed);
  std::normal_distribution<double> normal;
  std::vector<float> square;
  for (std::uint64_t k = 0; k < cols; ++k)
    square.push_back(static_cast<float>(std::exp(1.5 * normal(random))));
  for (std::uint64_t i = 0; i < 1 + cols / 100; ++i)
    square[random() % cols] *= 400;
  return square;
}

/// For every weight of the checkpoint that can be quantized.
inline made_statistics make_statistics(const fs::path& source, const fs::path& file,
                                       std::uint32_t seed = 1) {
  made_statistics made{file, {}};
  std::vector<formats::tensor_entry> entries;
  const auto c = formats::open_checkpoint(source).value();
  for (const auto& each : c.files)
    for (const auto& t : each.header.tensors) {
      if (!formats::quantizable(t))
        continue;
      const std::string module(formats::module_of(t.name));
      const auto layer = formats::fused_layer(t.name);
      made.mean_square[module] = channels_of(layer.empty() ? module : layer, t.shape[1], seed);
      for (const auto* ending : {".sum_sq", ".sum_abs"})
        entries.push_back({module + ending, "F32", {t.shape[1]}, 0, 0});
      entries.push_back({module + ".count", "I64", {}, 0, 0});
    }
  auto bytes = formats::lay_header(entries, {});
  for (const auto& entry : entries) {
    const auto module = entry.name.substr(0, entry.name.rfind('.'));
    if (entry.dtype == "I64") {
      const std::int64_t count = 1;
      bytes.append(reinterpret_cast<const char*>(&count), sizeof count);
      continue;
    }
    for (const auto square : made.mean_square[module]) { // of normal inputs: E|x| = 0.8 sigma
      const float value = entry.name.ends_with("abs") ? 0.8f * std::sqrt(square) : square;
      bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
  }
  std::ofstream(file, std::ios::binary) << bytes;
  return made;
}

} // namespace viva::tests
