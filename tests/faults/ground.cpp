#include "tests/faults/ground.hpp"

#include "formats/checkpoint.hpp"
#include "tests/faults/simulated_life.hpp"

#include <nlohmann/json.hpp>

#include <fstream>
#include <stdexcept>

namespace viva::faults {
namespace {

constexpr std::uint64_t rows = 32, cols = 64, tensors = 6;

void write_source(const std::filesystem::path& file) {
  nlohmann::ordered_json header;
  std::string data;
  random_source random(1);
  std::normal_distribution<float> normal(0, 0.02f);
  for (std::uint64_t t = 0; t < tensors; ++t) {
    const auto begin = data.size();
    for (std::uint64_t i = 0; i < rows * cols; ++i) {
      const float value = normal(random);
      data.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    header["model.layers." + std::to_string(t) + ".mlp.down_proj.weight"] = {
      {"dtype", "F32"}, {"shape", {rows, cols}}, {"data_offsets", {begin, data.size()}}};
  }
  auto text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t bytes = text.size();
  std::ofstream(file, std::ios::binary)
    .write(reinterpret_cast<const char*>(&bytes), sizeof bytes)
    << text << data;
}

actors::plan planned(const std::filesystem::path& source, const std::string& method) {
  const auto opened = formats::open_checkpoint(source);
  if (!opened)
    throw std::runtime_error(opened.error().text);
  quantize_spec spec;
  spec.source = source;
  spec.output = output_name;
  spec.method = method;
  spec.limits.shard_bytes_max = 2048;
  auto work = actors::plan_quantize(*opened, spec, {});
  if (!work)
    throw std::runtime_error(work.error().text);
  if (work->output.folder || work->shards.size() < 10)
    throw std::runtime_error("the ground is not what the simulation needs");
  // The source's inode and times are in it, and would give every machine other stories.
  work->fingerprint = {{"job", "simulated"}, {"method", method}};
  return std::move(*work);
}

} // namespace

ground::ground(const std::string& method) {
  write_source(folder / "tiny.safetensors");
  work = planned(folder / "tiny.safetensors", method);
  extents.resize(work.shards.size());
  simulated_disk disk;
  random_source random(0);
  memory past;
  simulated_life life(*this, disk, random, {}, past);
  disk.on_lane_write = [&](std::uint64_t at, std::uint64_t bytes) {
    extents[life.at_work_on()].emplace_back(at, bytes);
  };
  const auto ended = life.live();
  if (ended != life_end::answered || life.outcome().problem.code != errc::ok)
    throw std::runtime_error("the undisturbed run failed: " + life.outcome().problem.text);
  truth = *disk.look(output_name);
  errors = life.outcome().errors;
}

} // namespace viva::faults
