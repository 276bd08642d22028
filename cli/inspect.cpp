// viva inspect PATH: what lies in a checkpoint, and how it was quantized.

#include "cli/bytes.hpp"
#include "cli/invocation.hpp"

#include "formats/encoded.hpp"
#include "formats/shown.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <map>
#include <memory>

namespace viva::cli {

namespace {

using json = nlohmann::ordered_json;

constexpr std::size_t name_columns_max = 80; ///< A longer name shifts its own line only.

json json_of(const formats::logical_tensor& tensor, const formats::checkpoint& source) {
  json result = {{"name", tensor.name},
                 {"file", source.files[tensor.file].name},
                 {"dtype", tensor.dtype},
                 {"shape", tensor.shape},
                 {"stored_bytes", tensor.stored_bytes},
                 {"method", tensor.recipe ? json(tensor.recipe->name()) : json(nullptr)}};
  if (tensor.recipe)
    result["layout"] = tensor.layout;
  return result;
}

json json_of(const formats::checkpoint& source,
             const std::vector<formats::logical_tensor>& tensors) {
  json result = {{"path", source.root.string()}, {"folder", source.folder}};
  for (const auto& file : source.files)
    result["files"].push_back({{"name", file.name},
                               {"bytes", file.header.file_bytes},
                               {"header_bytes", file.header.data_begin},
                               {"tensors", file.header.tensors.size()},
                               {"metadata", file.header.metadata}});
  auto& list = result["tensors"] = json::array();
  for (const auto& tensor : tensors)
    list.push_back(json_of(tensor, source));
  return result;
}

std::string text_of(const formats::checkpoint& source,
                    const std::vector<formats::logical_tensor>& tensors) {
  std::string text;
  for (const auto& file : source.files) {
    text += fmt::format("{}: {}, header {}, {} tensors\n", formats::printable(file.path.native()),
                        format_bytes(file.header.file_bytes), format_bytes(file.header.data_begin),
                        file.header.tensors.size());
    for (const auto& [key, value] : file.header.metadata)
      text += fmt::format("  {} = {}\n", formats::shown(key), formats::shown(value));
  }
  struct group {
    std::uint64_t count = 0, bytes = 0;
  };
  std::map<std::string, group> groups;
  std::size_t widest = 6;
  for (const auto& tensor : tensors)
    widest = std::clamp(tensor.name.size(), widest, name_columns_max);
  text += fmt::format("\n{:<{}}  {:<6} {:<14} {:<10} stored\n", "tensor", widest, "dtype", "shape",
                      "method");
  for (const auto& tensor : tensors) {
    const auto method = tensor.recipe ? tensor.recipe->name() : std::string("-");
    text += fmt::format("{:<{}}  {:<6} {:<14} {:<10} {}\n", formats::printable(tensor.name), widest,
                        tensor.dtype, fmt::format("{}", fmt::join(tensor.shape, "x")), method,
                        format_bytes(tensor.stored_bytes));
    auto& sum = groups[tensor.recipe ? fmt::format("{} ({})", method, tensor.layout)
                                     : fmt::format("plain {}", tensor.dtype)];
    ++sum.count;
    sum.bytes += tensor.stored_bytes;
  }
  text += '\n';
  for (const auto& [name, sum] : groups)
    text += fmt::format("{:<28} {:>6} tensors  {}\n", name, sum.count, format_bytes(sum.bytes));
  return text;
}

expected<exit_code> run(const invocation& call, const std::string& path) {
  const auto source = formats::open_checkpoint(path);
  if (!source)
    return tl::make_unexpected(source.error());
  const auto tensors = formats::read_logical(*source);
  if (!tensors)
    return tl::make_unexpected(tensors.error());
  const auto printed =
      call.json ? print_json(json_of(*source, *tensors)) : print(text_of(*source, *tensors));
  return printed.map([] { return exit_code::done; });
}

} // namespace

void add_inspect(CLI::App& root, invocation& call) {
  auto* app = root.add_subcommand("inspect", "header, tensors, dtypes, shapes, how quantized");
  auto path = std::make_shared<std::string>();
  app->add_option("PATH", *path, "safetensors file or Hugging Face folder")->required();
  add_common_flags(*app, call);
  app->callback(
      [&call, path] { call.run = [&call, path](const settings&) { return run(call, *path); }; });
}

} // namespace viva::cli
